/// Who goes next to an engine that answers so many requests at a time: start-time fair queueing (Goyal, Vin and Cheng,
/// SIGCOMM 1996) over callers, weighed by tokens. A value; time comes in, decisions come out.
///
/// Each caller has a queue of their own, first come, first served. A request gets a start tag, the sum of what its caller
/// had before; the smallest goes next. Between two callers who both always have something waiting, what they were served
/// never differs by more than a few requests, however many the one sends and however long they are. A caller who had
/// nothing waiting gets no credit for it, and is not punished for what they had when the engine was free.
///
/// The last free slot is kept for a caller who has nothing at the engine, as long as one waits or one asked a short while
/// ago: an answer that has begun is never broken off, so whoever finds all slots taken has to wait for one to end. Who gives
/// way to it has something at the engine, and so nobody starves by it.
public struct FairQueue: Sendable {
  /// What waits or runs.
  public struct Request: Sendable, Hashable {
    public let id: UInt64
    public let caller: String
    /// How many tokens it will take, as far as can be told.
    public let cost: Int
    /// How many of the engine's slots it takes.
    public let width: Int

    public init(id: UInt64, caller: String, cost: Int, width: Int = 1) {
      self.id = id
      self.caller = caller
      self.cost = max(1, cost)
      self.width = max(1, width)
    }
  }

  private struct Flow: Sendable {
    var waiting: [Request] = []
    /// The start tag of the next request.
    var tag = 0.0
    /// Slots that it has.
    var running = 0
    var lastSeen = 0.0
  }

  public private(set) var slots: Int
  /// For how many seconds a caller counts as one who may come again.
  private let memory: Double
  private var flows: [String: Flow] = [:]
  private var running: [UInt64: Request] = [:]
  private var used = 0
  /// Virtual time: the start tag of what went to the engine last.
  private var virtual = 0.0

  public init(slots: Int, memory: Double = 60) {
    self.slots = max(1, slots)
    self.memory = memory
  }

  public var isEmpty: Bool { running.isEmpty && waiting == 0 }
  public var waiting: Int { flows.values.reduce(0) { $0 + $1.waiting.count } }
  public var busy: Int { running.count }

  /// Another number of slots: the engine was started with others.
  public mutating func resize(_ slots: Int) { self.slots = max(1, slots) }

  public mutating func add(_ request: Request, at now: Double) {
    forget(at: now)
    var flow = flows[request.caller] ?? Flow()
    if flow.waiting.isEmpty { flow.tag = max(flow.tag, virtual) }
    flow.waiting.append(request)
    flow.lastSeen = now
    flows[request.caller] = flow
  }

  /// Takes out a request that waits: its caller has gone. False when it does not wait.
  public mutating func remove(_ id: UInt64, of caller: String) -> Bool {
    guard let at = flows[caller]?.waiting.firstIndex(where: { $0.id == id }) else { return false }
    flows[caller]?.waiting.remove(at: at)
    return true
  }

  /// The request that goes to the engine now; nil when none may. `mayRun` says which may as far as limits go; those of its
  /// caller wait behind it, others don't.
  public mutating func next(at now: Double, mayRun: (Request) -> Bool = { _ in true }) -> Request? {
    let free = slots - used
    guard free > 0 else { return nil }
    let order = flows.filter { !$0.value.waiting.isEmpty }.sorted {
      ($0.value.tag, $0.value.waiting[0].id) < ($1.value.tag, $1.value.waiting[0].id)
    }
    for (caller, flow) in order {
      let head = flow.waiting[0]
      let width = min(head.width, slots)
      if !mayRun(head) { continue }
      if flow.running > 0, free - width < 1, slots > 1 {
        let isAnotherWaiting = order.contains { $0.value.running == 0 && mayRun($0.value.waiting[0]) }
        if isAnotherWaiting || isSomebodyExpected(at: now) { continue }
      }
      // Whose turn it is and who needs more than is free waits for it; nobody overtakes.
      guard width <= free else { return nil }
      start(head, caller, width)
      return head
    }
    return nil
  }

  private mutating func start(_ head: Request, _ caller: String, _ width: Int) {
    guard var flow = flows[caller] else { return }
    flow.waiting.removeFirst()
    virtual = max(virtual, flow.tag)
    flow.tag += Double(head.cost)
    flow.running += width
    flows[caller] = flow
    used += width
    running[head.id] = Request(id: head.id, caller: caller, cost: head.cost, width: width)
  }

  /// Whether somebody has neither a request here nor been away for long.
  private func isSomebodyExpected(at now: Double) -> Bool {
    flows.values.contains { $0.running == 0 && $0.waiting.isEmpty && now - $0.lastSeen <= memory }
  }

  /// A request has left the engine after so many tokens. What was foreseen wrongly is put right.
  public mutating func end(_ id: UInt64, tokens: Int, at now: Double) {
    guard let request = running.removeValue(forKey: id) else { return }
    used -= request.width
    if var flow = flows[request.caller] {
      flow.running -= request.width
      flow.tag = max(0, flow.tag + Double(max(1, tokens) - request.cost))
      flow.lastSeen = now
      flows[request.caller] = flow
    }
    if isEmpty {
      // Nobody is owed anything when all are served.
      virtual = 0
      for caller in flows.keys { flows[caller]?.tag = 0 }
    }
  }

  /// Callers who are owed nothing and were not seen for a while are forgotten.
  private mutating func forget(at now: Double) {
    guard flows.count >= 32 else { return }
    flows = flows.filter { _, flow in
      !flow.waiting.isEmpty || flow.running > 0 || now - flow.lastSeen <= memory
    }
  }

  /// The callers that are remembered.
  public var callers: Int { flows.count }
  public func waiting(of caller: String) -> Int { flows[caller]?.waiting.count ?? 0 }

  /// How many requests go before this one, should nobody else come; nil when it does not wait.
  public func position(of id: UInt64, caller: String) -> Int? {
    guard let own = flows[caller], let at = own.waiting.firstIndex(where: { $0.id == id }) else { return nil }
    let tag = own.tag + own.waiting[..<at].reduce(0) { $0 + Double($1.cost) }
    var before = at
    for (name, flow) in flows where name != caller {
      var theirs = flow.tag
      for request in flow.waiting {
        if (theirs, request.id) >= (tag, id) { break }
        before += 1
        theirs += Double(request.cost)
      }
    }
    return before
  }
}
