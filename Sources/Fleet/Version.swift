/// The version of Skerry that this program is (Semantic Versioning).
public let skerryVersion = "0.1.0"
