/// What a caller may ask for: the closed lists of a box and of a hub. Each verb acts on one kind of resource.
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
  case auditContent = "audit.content"
  case auditErase = "audit.erase"
  case reportRead = "report.read"
  case statusRead = "status.read"
  case syncRun = "sync.run"
  case enroll = "enroll"
  case metricsRead = "metrics.read"

  // The hub's.
  case deviceRead = "device.read"
  case deviceManage = "device.manage"
  case deviceEnter = "device.enter"
  case repositoryPublish = "repository.publish"
  case breakGlassIssue = "break-glass.issue"
  case operatorRead = "operator.read"
  case operatorManage = "operator.manage"

  /// A box's. Policies of boxes know no others.
  public static let allCases: [Verb] = [
    .infer, .modelList, .modelManage, .modelCreate, .roleRead, .roleManage, .tokenManage, .auditRead, .auditExport,
    .auditContent, .auditErase, .reportRead, .statusRead, .syncRun, .enroll, .metricsRead,
  ]

  /// A hub's.
  public static let hubCases: [Verb] = [
    .deviceRead, .deviceManage, .deviceEnter, .repositoryPublish, .breakGlassIssue, .operatorRead, .operatorManage,
  ]

  /// A box's verb by its name; nil for anything else.
  public static func box(_ name: String) -> Verb? {
    Verb(rawValue: name).flatMap { allCases.contains($0) ? $0 : nil }
  }

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
    case .auditContent: "see prompts and answers that a role asked to keep"
    case .auditErase: "erase prompts and answers that a role asked to keep"
    case .reportRead: "read the compliance report"
    case .statusRead: "see the state of the box"
    case .syncRun: "sync with the hub now"
    case .enroll: "enrol the box with a hub"
    case .metricsRead: "read metrics"
    case .deviceRead: "see the boxes, their reports and the hub's state"
    case .deviceManage: "enrol boxes, assign models, roll back, shut out, write and take bundles"
    case .deviceEnter: "get a pass by which a box knows the operator"
    case .repositoryPublish: "publish models and metadata"
    case .breakGlassIssue:
      "issue and revoke sealed codes for emergencies, and exceptions from how long records are kept"
    case .operatorRead: "see the operators and their roles"
    case .operatorManage: "add and remove operators, change their roles"
    }
  }

  /// Whether it only shows how the box is doing: what dashboards and scripts ask for again and again.
  public var isLook: Bool {
    switch self {
    case .statusRead, .metricsRead, .modelList, .roleRead, .reportRead: true
    case .infer, .modelManage, .modelCreate, .roleManage, .tokenManage, .auditRead, .auditExport, .auditContent,
      .auditErase, .syncRun, .enroll:
      false
    case .deviceRead, .operatorRead: true
    case .deviceManage, .deviceEnter, .repositoryPublish, .breakGlassIssue, .operatorManage: false
    }
  }

  /// The kind of resource that the verb acts on.
  public var resourceKind: String {
    switch self {
    case .infer, .modelList, .modelManage, .modelCreate: "model"
    case .roleRead, .roleManage: "role"
    case .tokenManage: "token"
    case .auditRead, .auditExport, .auditContent, .auditErase: "audit"
    case .reportRead: "report"
    case .statusRead, .syncRun, .enroll, .metricsRead: "box"
    case .deviceRead, .deviceManage, .deviceEnter, .breakGlassIssue: "device"
    case .repositoryPublish: "repository"
    case .operatorRead, .operatorManage: "operator"
    }
  }

  /// How many there are of both, for tables.
  static let count = allCases.count + hubCases.count

  /// Its place in tables.
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
    case .auditContent: 14
    case .auditErase: 15
    case .deviceRead: 16
    case .deviceManage: 17
    case .deviceEnter: 18
    case .repositoryPublish: 19
    case .breakGlassIssue: 20
    case .operatorRead: 21
    case .operatorManage: 22
    }
  }
}
