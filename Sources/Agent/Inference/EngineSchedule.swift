import Host
import Trust

/// Starts engines before anybody asks (`load: "start"`), and starts them anew at their time of the day (`reloadAt`).
struct EngineSchedule: Sendable {
  let planner: EnginePlanner
  /// The models that may answer now.
  let models: @Sendable () async -> [EngineModel]
  /// Has a model's engine ready, as for a request.
  let load: @Sendable (EngineModel) async throws -> Void
  let reload: @Sendable (EngineModel) async -> Void
  let now: @Sendable () -> Int64
  var pause = Duration.seconds(5)

  private var isNeeded: Bool {
    planner.configuration.reloadMinute != nil
      || planner.models.entries.values.contains { $0.load == .start || $0.reloadMinute != nil }
  }

  /// Until the task is cancelled; returns at once where nothing is scheduled.
  func run() async {
    guard isNeeded else { return }
    var loaded: Set<Digest> = []
    var last = LocalTime(unix: now()).minuteOfDay
    while !Task.isCancelled {
      for model in await models() {
        guard planner.settings(for: model.name).load == .start, loaded.insert(model.sha256).inserted else { continue }
        do { try await load(model) } catch {
          Log.shared.error("not loaded at the start", ["model": model.label, "reason": "\(error)"])
        }
      }
      do { try await Task.sleep(for: pause) } catch { return }
      let minute = LocalTime(unix: now()).minuteOfDay
      for model in await models() {
        guard let due = planner.reloadMinute(for: model.name), EngineSchedule.passed(due, from: last, to: minute)
        else { continue }
        await reload(model)
      }
      last = minute
    }
  }

  /// Whether the minute `due` of the day came after `last` and no later than `now`. A clock that was set by more than
  /// half a day forward is taken for one that was set back.
  static func passed(_ due: Int, from last: Int, to now: Int) -> Bool {
    let day = 1440
    let span = (now - last + day) % day
    let ahead = (due - last + day) % day
    return span > 0 && span <= day / 2 && ahead > 0 && ahead <= span
  }
}
