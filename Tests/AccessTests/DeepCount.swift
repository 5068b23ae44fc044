import Glibc

/// A tenth of so many cases; all of them, or more, where COUNT says how many.
func deepCount(_ usual: Int) -> Int { getenv("COUNT").flatMap { Int(String(cString: $0)) } ?? usual / 10 }
