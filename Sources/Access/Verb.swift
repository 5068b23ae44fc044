/// What a caller may ask for. Each verb acts on one kind of resource.
public enum Verb: String, CaseIterable, Sendable, Codable, Hashable {
  case infer = "infer"
  case modelList = "model.list"
  case modelManage = "model.manage"
  case modelCreate = "model.create"
  case roleRead = "role.read"
  case roleManage = "role.manage"
  case tokenManage = "token.manage"
  case auditRead = "audit.read"
  case auditExport = "audit.export"
  case reportRead = "report.read"
  case statusRead = "status.read"
  case syncRun = "sync.run"
  case enroll = "enroll"
  case metricsRead = "metrics.read"

  /// One line for people.
  public var summary: String {
    switch self {
    case .infer: "ask a model: chat, completion, embedding"
    case .modelList: "see which models are installed"
    case .modelManage: "load, unload and verify models"
    case .modelCreate: "make, copy and delete variants of models"
    case .roleRead: "see roles and who holds them, ask for explanations"
    case .roleManage: "give and take roles"
    case .tokenManage: "create, list and revoke tokens"
    case .auditRead: "read the audit log"
    case .auditExport: "export the audit log with its proofs"
    case .reportRead: "read the compliance report"
    case .statusRead: "see the state of the box"
    case .syncRun: "sync with the hub now"
    case .enroll: "enrol the box with a hub"
    case .metricsRead: "read metrics"
    }
  }

  /// Whether it only shows how the box is doing: what dashboards and scripts ask for again and again.
  public var isLook: Bool {
    switch self {
    case .statusRead, .metricsRead, .modelList, .roleRead, .reportRead: true
    case .infer, .modelManage, .modelCreate, .roleManage, .tokenManage, .auditRead, .auditExport, .syncRun, .enroll:
      false
    }
  }

  /// The kind of resource that the verb acts on.
  public var resourceKind: String {
    switch self {
    case .infer, .modelList, .modelManage, .modelCreate: "model"
    case .roleRead, .roleManage: "role"
    case .tokenManage: "token"
    case .auditRead, .auditExport: "audit"
    case .reportRead: "report"
    case .statusRead, .syncRun, .enroll, .metricsRead: "box"
    }
  }

  /// Its place in `allCases`, for tables.
  var number: Int {
    switch self {
    case .infer: 0
    case .modelList: 1
    case .modelManage: 2
    case .modelCreate: 3
    case .roleRead: 4
    case .roleManage: 5
    case .tokenManage: 6
    case .auditRead: 7
    case .auditExport: 8
    case .reportRead: 9
    case .statusRead: 10
    case .syncRun: 11
    case .enroll: 12
    case .metricsRead: 13
    }
  }
}
