internal import CCurl

/// One easy handle with what it points to; frees both.
final class EasyHandle {
  let handle: UnsafeMutableRawPointer
  let transfer: Transfer
  private let errorText: UnsafeMutablePointer<CChar>
  private var list: UnsafeMutablePointer<curl_slist>?

  init?(_ transfer: Transfer) {
    guard let handle = curl_easy_init() else { return nil }
    self.handle = handle
    self.transfer = transfer
    errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
    errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    configure(transfer.request)
  }

  deinit {
    curl_easy_cleanup(handle)
    curl_slist_free_all(list)
    errorText.deallocate()
  }

  private func configure(_ request: ClientRequest) {
    let context = Unmanaged.passUnretained(transfer).toOpaque()
    skerry_curl_set_ptr(handle, CURLOPT_ERRORBUFFER, errorText)
    skerry_curl_set_str(handle, CURLOPT_URL, request.url)
    skerry_curl_set_long(handle, CURLOPT_NOSIGNAL, 1)
    skerry_curl_set_str(handle, CURLOPT_PROTOCOLS_STR, "http,https")
    skerry_curl_set_long(handle, CURLOPT_FOLLOWLOCATION, 0)
    skerry_curl_set_long(handle, CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
    skerry_curl_set_long(handle, CURLOPT_TCP_NODELAY, 1)
    skerry_curl_set_str(handle, CURLOPT_PROXY, "")
    skerry_curl_set_long(handle, CURLOPT_CONNECTTIMEOUT_MS, request.connectTimeout.milliseconds)
    if let total = request.totalTimeout { skerry_curl_set_long(handle, CURLOPT_TIMEOUT_MS, total.milliseconds) }
    if let slow = request.lowSpeed {
      skerry_curl_set_long(handle, CURLOPT_LOW_SPEED_LIMIT, slow.bytesPerSecond)
      skerry_curl_set_long(handle, CURLOPT_LOW_SPEED_TIME, slow.seconds)
    }
    if let path = request.unixSocket { skerry_curl_set_str(handle, CURLOPT_UNIX_SOCKET_PATH, path) }
    if let pin = request.pin {
      skerry_curl_set_str(handle, CURLOPT_PINNEDPUBLICKEY, pin)
      skerry_curl_set_long(handle, CURLOPT_SSL_VERIFYPEER, 0)
      skerry_curl_set_long(handle, CURLOPT_SSL_VERIFYHOST, 0)
    }
    skerry_curl_set_ptr(handle, CURLOPT_WRITEDATA, context)
    skerry_curl_set_write(handle) { bytes, size, count, context in
      guard let context else { return 0 }
      let transfer = Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
      return transfer.take(UnsafeRawBufferPointer(start: bytes, count: size * count))
    }
    skerry_curl_set_ptr(handle, CURLOPT_HEADERDATA, context)
    skerry_curl_set_header(handle) { bytes, size, count, context in
      guard let context, let bytes else { return 0 }
      let raw = UnsafeRawBufferPointer(start: bytes, count: size * count)
      var line = String(decoding: raw, as: UTF8.self)
      while let last = line.utf8.last, last == 0x0A || last == 0x0D {
        line = String(decoding: line.utf8.dropLast(), as: UTF8.self)
      }
      Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue().takeHeader(line)
      return size * count
    }
    body(request, context)
    for field in request.headers.all {
      list = curl_slist_append(list, field.value.isEmpty ? "\(field.name);" : "\(field.name): \(field.value)")
    }
    // No wait for "100 Continue".
    list = curl_slist_append(list, "Expect:")
    skerry_curl_set_ptr(handle, CURLOPT_HTTPHEADER, list)
  }

  private func body(_ request: ClientRequest, _ context: UnsafeMutableRawPointer) {
    switch request.body {
    case .none:
      switch request.method {
      case "HEAD": skerry_curl_set_long(handle, CURLOPT_NOBODY, 1)
      case "POST", "PUT", "PATCH": length(0, context)
      default: break
      }
    case .bytes(let bytes): length(bytes.count, context)
    case .stream: length(-1, context)
    }
    skerry_curl_set_str(handle, CURLOPT_CUSTOMREQUEST, request.method)
  }

  private func length(_ count: Int, _ context: UnsafeMutableRawPointer) {
    skerry_curl_set_long(handle, CURLOPT_UPLOAD, 1)
    if count >= 0 { skerry_curl_set_off(handle, CURLOPT_INFILESIZE_LARGE, curl_off_t(count)) }
    skerry_curl_set_ptr(handle, CURLOPT_READDATA, context)
    skerry_curl_set_read(handle) { bytes, size, count, context in
      guard let context, let bytes else { return Int(CURL_READFUNC_ABORT) }
      let transfer = Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
      return transfer.give(UnsafeMutableRawBufferPointer(start: bytes, count: size * count))
    }
  }

  func failure(_ code: CURLcode) -> HTTPClientError {
    let kind: HTTPClientError.Kind =
      switch code {
      case CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: .unreachable
      case CURLE_OPERATION_TIMEDOUT: .timeout
      case CURLE_SSL_PINNEDPUBKEYNOTMATCH: .pinMismatch
      case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER,
        CURLE_SSL_CACERT_BADFILE:
        .tls
      case CURLE_PARTIAL_FILE, CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR: .cut
      default: .other
      }
    let said = String(cString: errorText)
    let text = said.isEmpty ? String(cString: curl_easy_strerror(code)) : said
    return HTTPClientError(kind: kind, curlCode: Int32(code.rawValue), message: text)
  }
}

extension Duration {
  var milliseconds: Int {
    let parts = components
    return Int(parts.seconds) * 1000 + Int(parts.attoseconds / 1_000_000_000_000_000)
  }
}
