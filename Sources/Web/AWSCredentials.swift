/// Who signs a request with AWS Signature Version 4, as S3 and stores that speak like it demand.
public struct AWSCredentials: Sendable {
  public var accessKey: String
  public var secretKey: String
  /// For credentials that end; sent as `X-Amz-Security-Token`.
  public var sessionToken: String?
  public var region: String
  public var service: String

  public init(
    accessKey: String, secretKey: String, sessionToken: String? = nil, region: String, service: String = "s3"
  ) {
    self.accessKey = accessKey
    self.secretKey = secretKey
    self.sessionToken = sessionToken
    self.region = region
    self.service = service
  }
}
