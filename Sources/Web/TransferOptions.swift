internal import CCurl

/// Tells an easy handle all about one request. The list it returns is freed after the handle.
/// `context` is the unretained `Transfer`, which outlives the handle.
func configure(
  _ easy: UnsafeMutableRawPointer, _ request: ClientRequest, detail: UnsafeMutablePointer<CChar>,
  context: UnsafeMutableRawPointer
) -> UnsafeMutablePointer<curl_slist>? {
  func long(_ option: CURLoption, _ value: Int) { skerry_curl_set_long(easy, option, value) }
  func text(_ option: CURLoption, _ value: String) { skerry_curl_set_str(easy, option, value) }

  skerry_curl_set_ptr(easy, CURLOPT_ERRORBUFFER, detail)
  text(CURLOPT_URL, request.url)
  text(CURLOPT_PROTOCOLS_STR, "http,https")
  long(CURLOPT_NOSIGNAL, 1)
  long(CURLOPT_FOLLOWLOCATION, 0)
  long(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
  long(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
  long(CURLOPT_TCP_KEEPALIVE, 1)
  // libcurl takes no less than 1 KiB.
  long(CURLOPT_BUFFERSIZE, max(1024, request.pace?.grain ?? 64 * 1024))
  long(CURLOPT_HTTP_TRANSFER_DECODING, 1)

  if let socket = request.unixSocket { text(CURLOPT_UNIX_SOCKET_PATH, socket) }
  // What stays on this machine never goes by a proxy that the environment names.
  if request.unixSocket != nil || isLoopback(request.url) { text(CURLOPT_PROXY, "") }
  if let pin = request.pin {
    text(CURLOPT_PINNEDPUBLICKEY, pin)
    // The pin alone decides: neither chain, name nor date can help or harm.
    long(CURLOPT_SSL_VERIFYPEER, 0)
    long(CURLOPT_SSL_VERIFYHOST, 0)
  }

  if let file = request.caFile { text(CURLOPT_CAINFO, file) }

  if let aws = request.aws {
    text(CURLOPT_AWS_SIGV4, "aws:amz:\(aws.region):\(aws.service)")
    text(CURLOPT_USERNAME, aws.accessKey)
    text(CURLOPT_PASSWORD, aws.secretKey)
    text(CURLOPT_USERAGENT, "skerry")
  }

  long(CURLOPT_CONNECTTIMEOUT_MS, max(1, request.connectTimeout.milliseconds))
  if let total = request.totalTimeout { long(CURLOPT_TIMEOUT_MS, max(1, total.milliseconds)) }
  if let low = request.lowSpeed {
    long(CURLOPT_LOW_SPEED_LIMIT, low.bytesPerSecond)
    long(CURLOPT_LOW_SPEED_TIME, low.seconds)
  }
  skerry_curl_set_off(easy, CURLOPT_MAXFILESIZE_LARGE, curl_off_t(request.maxResponseBytes))

  setBody(easy, request, context: context)

  skerry_curl_set_ptr(easy, CURLOPT_WRITEDATA, context)
  skerry_curl_set_write(easy) { bytes, size, count, context in
    guard let bytes, let context else { return 0 }
    let transfer = Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    return transfer.bodyPiece(UnsafeRawBufferPointer(start: bytes, count: size * count))
  }
  skerry_curl_set_ptr(easy, CURLOPT_HEADERDATA, context)
  skerry_curl_set_header(easy) { bytes, size, count, context in
    guard let bytes, let context else { return 0 }
    let transfer = Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    transfer.headerLine(UnsafeRawBufferPointer(start: bytes, count: size * count))
    return size * count
  }

  let fields = fieldList(request)
  skerry_curl_set_ptr(easy, CURLOPT_HTTPHEADER, fields)
  return fields
}

private func setBody(_ easy: UnsafeMutableRawPointer, _ request: ClientRequest, context: UnsafeMutableRawPointer) {
  switch request.body {
  case .none:
    if request.method == "HEAD" {
      skerry_curl_set_long(easy, CURLOPT_NOBODY, 1)
    } else if request.method == "GET" || request.method == "DELETE" {
      skerry_curl_set_long(easy, CURLOPT_HTTPGET, 1)
    } else {
      copyBody(easy, [])
    }
  case .bytes(let bytes): copyBody(easy, bytes)
  case .stream:
    skerry_curl_set_long(easy, CURLOPT_UPLOAD, 1)
    if let length = request.headers["Content-Length"].flatMap({ curl_off_t($0) }) {
      skerry_curl_set_off(easy, CURLOPT_INFILESIZE_LARGE, length)
    }
    skerry_curl_set_ptr(easy, CURLOPT_READDATA, context)
    skerry_curl_set_read(easy) { target, size, count, context in
      guard let target, let context else { return Int(CURL_READFUNC_ABORT) }
      let transfer = Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
      return switch transfer.upload?.read(into: UnsafeMutableRawBufferPointer(start: target, count: size * count)) {
      case .bytes(let count): count
      case .pause: Int(CURL_READFUNC_PAUSE)
      case .end: 0
      case nil: Int(CURL_READFUNC_ABORT)
      }
    }
  }
  if request.method != "HEAD" { skerry_curl_set_str(easy, CURLOPT_CUSTOMREQUEST, request.method) }
}

private func copyBody(_ easy: UnsafeMutableRawPointer, _ bytes: [UInt8]) {
  skerry_curl_set_off(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(bytes.count))
  var copied = bytes.isEmpty ? [0] : bytes
  skerry_curl_set_ptr(easy, CURLOPT_COPYPOSTFIELDS, &copied)
}

private func fieldList(_ request: ClientRequest) -> UnsafeMutablePointer<curl_slist>? {
  var list: UnsafeMutablePointer<curl_slist>?
  func add(_ line: String) { list = curl_slist_append(list, line) ?? list }
  // `Name;` is libcurl's way to say an empty value; `Name:` would take the field away.
  for field in request.headers.all { add(field.value.isEmpty ? "\(field.name);" : "\(field.name): \(field.value)") }
  if request.headers["Accept"] == nil { add("Accept: */*") }
  // libcurl 7.88 signs what stands here, fields that it then leaves out among them, and S3 does not sign User-Agent.
  guard request.aws == nil else { return list }
  // No pause for "100 Continue", and no content type that nobody chose.
  add("Expect:")
  if request.headers["Content-Type"] == nil { add("Content-Type:") }
  if request.headers["User-Agent"] == nil { add("User-Agent: skerry") }
  return list
}

extension Duration {
  fileprivate var milliseconds: Int {
    let parts = components
    guard parts.seconds < 1 << 40 else { return .max }
    return Int(parts.seconds) * 1000 + Int(parts.attoseconds / 1_000_000_000_000_000)
  }
}

/// Whether the URL names this machine by one of the usual names.
private func isLoopback(_ url: String) -> Bool {
  let authority = URLParts(url).authority
  return authority == "localhost" || authority.hasPrefix("localhost:") || authority.hasPrefix("127.")
    || authority.hasPrefix("[::1]")
}
