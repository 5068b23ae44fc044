/// The version of Skerry, as all its programs say it.
public let agentVersion = "0.1.0"
