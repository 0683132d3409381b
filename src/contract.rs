//! The contract: numbered rules that documentation, comments and tests cite.
//!
//! Where a rule says *as OTP*, Erlang/OTP's `supervisor` is the reference; where it deviates, it says so. All durations
//! are tokio time; all counters saturate. An arrow leads to what implements a rule, or to what it is seen by where that is
//! no part of the API.
//!
//! **Not built yet**, though the rules stand: the credentials of P-6 and its memory and pids limits by control groups, C-9,
//! C-10 and C-14 in part (retries, streams, progress), W-5 in part, W-6 (standby), the 2026-07-28 era of MCP in W-7, G-5, G-14 and G-15, and
//! `TreeSpec` of T-1.
//!
//! ## S. Supervision
//!
//! **Specs and flags**
//! - S-1 Strategy: `OneForOne`, `OneForAll`, `RestForOne`. Children form an ordered table; the order of the specs is the start order.
//!   → [`Strategy`](crate::state::Strategy)
//! - S-2 Intensity: at most `max_restarts` in a sliding `period` (a restart of age ≤ period counts). The first N restarts in the window are
//!   made, the N+1th is not attempted: the supervisor gives up. A restart is counted when it is decided, not when it is performed. Default 3 in 5 s. `max_restarts = 0` trips at once. A zero period is refused.
//!   → [`Intensity`](crate::restart::Intensity)
//! - S-3 Child spec: `id` (unique in its supervisor), `start`, `restart`, `shutdown` (`BrutalKill | Timeout(d) | Infinity`), `kind`
//!   (`Worker | Supervisor`), `significant`. Default shutdown: 5 s for a worker, infinity for a supervisor, and for a process worker the total of
//!   its stop ladder plus a margin. Zero is a valid timeout.
//!   → [`ChildSpec`](crate::supervision::ChildSpec), [`ChildPolicy`](crate::supervision::ChildPolicy)
//! - S-4 Auto-shutdown: `Never | AnySignificant | AllSignificant`. `significant` with `Permanent`, or under `Never`, is refused when the spec is built.
//!   → [`AutoShutdown`](crate::supervision::AutoShutdown)
//! - S-5 Restart types: `Permanent` (always), `Transient` (abnormal exits only), `Temporary` (never; its spec is deleted), plus `OnSuccess` (clean exits
//!   only) and `UnlessStopped` (as Permanent, but an operator's stop outlives a group restart).
//!   → [`RestartType`](crate::restart::RestartType)
//! - S-6 Every invalid spec is an error at build or at `start_child`, naming the field; all mistakes of one spec are reported together. A setting that would have no effect is such a mistake: one that belongs to a channel on a worker without one, pings of a protocol that has none, a limit that cannot be applied, a policy where another one replaces it. A tree without children starts, and the log says so.
//!   → [`SpecErrors`](crate::supervision::SpecErrors)
//!
//! **Starting**
//! - S-7 `start: Required | Background`. Required children (the default for actors, supervisors and plain workers) start one after another in order; each start is awaited until the child is *ready*. If one fails: no retry, the started ones are stopped in
//!   reverse order, and the supervisor's start fails with the id and the cause. A start has a timeout (`start_timeout`, default 30 s; of a process worker 15 s more than its handshake may take, if that is longer); on expiry the
//!   half-born child is torn down completely. `Background` children (the default for plugins and pool workers) are started in order too, but nobody waits for them, and a failed first start is a crash under their policy: one broken plugin never keeps a service from starting.
//!   → [`StartMode`](crate::supervision::StartMode), [`Start`](crate::supervision::Start)
//! - S-8 A start may answer `Ignore`: the spec stays without a live child (temporary: the spec goes).
//!   → [`Exit::Ignored`](crate::exit::Exit::Ignored)
//! - S-9 A child that dies before its supervisor has recorded it is still handled exactly once: a failed start never also counts as an exit.
//!   → [`Input`](crate::supervision::machine::Input)
//!
//! **Restarting**
//! - S-10 An exit that asks for a restart is counted once, whatever number of siblings restart with it. Every failed restart attempt counts again.
//!   Not counted: initial starts, operator's starts and restarts, temporary exits, siblings stopped by a group restart.
//!   → [`Machine`](crate::supervision::machine::Machine), [`Window`](crate::restart::Window)
//! - S-11 One-for-one touches nobody else. One-for-all stops all other children, newest first, each awaited by its own shutdown rule, then starts all,
//!   oldest first. Rest-for-one does that from the failed child on; earlier children keep their incarnations.
//!   → [`Machine`](crate::supervision::machine::Machine)
//! - S-12 A group restart drops temporary children for good and brings every other spec in its range to life, also those that had ended normally,
//!   were ignored or were stopped by hand (as OTP), except `GaveUp` ones and `UnlessStopped` ones stopped by hand. Siblings stop at once and start after the delay; exits that the group consumes leave their trackers alone.
//!   → [`Machine`](crate::supervision::machine::Machine)
//! - S-13 Exits of children that the group restart is stopping are consumed by it. A crash of an earlier child during a rest-for-one pass supersedes that pass at once: starts in flight are cancelled and awaited, the wider pass begins; each exit counts once.
//!   → [`Machine`](crate::supervision::machine::Machine)
//! - S-14 If X fails to start during a group pass: what started in this pass keeps running, X is *restarting*, later ones are `Down`, and X is retried. The retry
//!   under one-for-all tears down and starts all again; under rest-for-one only X and later. A crash of an earlier child meanwhile supersedes the retry: never are
//!   two retries alive at once (OTP has that flaw).
//!   → [`Machine`](crate::supervision::machine::Machine)
//! - S-15 Three children crashing at once under one-for-all count as one restart; under rest-for-one crashing c, b, a (that order) as three, a, b, c as one.
//!   → [`Machine`](crate::supervision::machine::Machine)
//! - S-16 Restarts may be delayed by the child's back-off (R rules). In a group the longest delay counts, waiting members contributing what they have left. A waiting child (`BackingOff`, `CoolingOff`) is OTP's *restarting*: stopping or deleting it
//!   cancels the timer, and a timer that fires for an old incarnation does nothing.
//!   → [`Machine`](crate::supervision::machine::Machine), [`ChildState`](crate::state::ChildState)
//! - S-17 Giving up: the offender is not restarted, all others are stopped in reverse order, the supervisor exits with `Exit::IntensityExceeded { child, cause, limit }`.
//!   The parent treats that as *abnormal* for `Permanent` and as *shutdown* for `Transient` (so a transient supervisor that gives up stays down, as OTP: in state `GaveUp`, with an event at error level; a `Transient` supervisor is warned about when built).
//!   → [`Exit::IntensityExceeded`](crate::exit::Exit::IntensityExceeded), [`Consequence`](crate::event::Consequence)
//! - S-18 A supervisor is responsive at all times: `snapshot`, `which_children` and a stop request are answered while any child starts, stops or waits, and while it stops itself (other requests then get `ShuttingDown`).
//!   → [`SupervisorRef`](crate::supervision::SupervisorRef), [`Engine`](crate::supervision::engine::Engine)
//!
//! **Stopping**
//! - S-19 Stopping one child: ask; wait its shutdown time; kill; wait until it is *gone* (actor joined and remains closed). Only then is it `Down`. A child that ends
//!   by itself meanwhile is simply down: no restart, no hang, no error.
//!   → [`Shutdown`](crate::supervision::Shutdown), [`StopRequest`](crate::supervision::StopRequest)
//! - S-20 Stopping a supervisor: children in reverse order, each awaited; dynamic supervisors stop all at once. `Tree::shutdown(deadline)` bounds the whole; past it,
//!   everything left is killed, in order still. Every child that is asked to stop is told the deadline, and one that is stopping already is told if it comes nearer. Nothing outlives the tree's handle returning.
//!   → [`Root::shutdown`](crate::supervision::Root::shutdown), [`Tree::shutdown`](crate::tree::Tree::shutdown)
//! - S-21 A supervisor that is killed or panics leaves no process behind (P-10), and its successor starts only when its remains token is closed.
//!   → [`IncarnationToken`](crate::supervision::IncarnationToken)
//!
//! **Operator's calls**
//! - S-22 `start_child`, `terminate_child`, `restart_child` (a stopped one), `delete_child`, `reload_child` (running one: stop and start, or swap, G-14), `child_spec`,
//!   `which_children` (start order), `count_children { specs, active, supervisors, workers }`. Errors as OTP: `NotFound`, `AlreadyStarted`, `AlreadyPresent`, `Running`,
//!   `Restarting`. They never touch siblings and never use the budget. `restart_child` is OTP's: it starts a *stopped* child, and if that fails the child stays down, without retry. To restart a running one there is R-8.
//!   → [`SupervisorRef`](crate::supervision::SupervisorRef), [`RequestError`](crate::supervision::RequestError)
//! - S-23 A `DynamicSupervisor` mode: one-for-one, children by id added at run time, `max_children` (restarting and stopping ones count), parallel stop; a child that
//!   ends by itself without a restart, or is ignored, leaves the table.
//!   → [`SupervisorSpec::dynamic`](crate::supervision::SupervisorSpec::dynamic)
//! - S-24 Auto-shutdown is looked at only when a significant child ends by itself without a restart; *restarting* counts as alive, stopped by hand as gone.
//!   → [`AutoShutdown`](crate::supervision::AutoShutdown)
//!
//! **ractor**
//! - S-25 Children are known by (id, incarnation, ActorId), never by registered name. A kill arrives as `ActorTerminated` with the reason "killed" (with or without state: it cannot be told from a child that stops itself with that word) and is abnormal; so is "actor_task_cancelled". What the Engine itself asked for it knows by incarnation. Typed causes travel as the `Err` of the actor and are downcast; ractor delivers a
//!   panic with a string and an `Err` with a string alike, so both are `ActorFailed`.
//!   → [`Incarnation`](crate::id::Incarnation), [`Exit::from_error`](crate::exit::Exit::from_error)
//! - S-26 Any ractor actor can be a child beside process workers, and any embedding actor can own a tree.
//!   → [`ChildSpec::actor`](crate::supervision::ChildSpec::actor), [`Root::start`](crate::supervision::Root::start)
//!
//! ## R. Restart policy (per child) and its order with the supervisor's intensity
//!
//! - R-0 One decision order for every exit: (1) an old incarnation, or one that is being stopped → nothing. (2) The restart type says no → `Down(Ended)`. (3) The child's tracker says `GaveUp` or `CoolOff` → that, and nothing is counted. (4) It says `Escalate` → S-17. (5) `budget: Shared` → the supervisor's
//!   intensity counts one restart now; `budget: Own(CrashLoop)` → only the child's own crash loop counts. An unset budget is settled where a declaration becomes a child (also in `start_child`, `reload_child`, `set_policy`). A one-for-one or dynamic supervisor that was given no intensity lets each *process worker* pay for its own crashes (its policy's crash loop, or 5 failures in 60 s → cool off 60 s, named by health); under one that was given an intensity it is `Shared`, so that crashes escalate. Group strategies, actors and nested supervisors are `Shared`, with OTP's kind of default (3 in 5 s).
//!   A plugin host that is given no intensity does as a one-for-one supervisor, whatever its plugins' policies say, so that a broken third-party plugin never takes the others down. A pool without an intensity does the same for its workers (5 failures in 60 s → given up; then the key, or in an anonymous pool every further start, rests: L-7). (6) The restart, after its delay. Under one-for-all and rest-for-one a tracker's give-up *is* an escalation, and `CoolOff` is refused when built.
//!   (Why: escalation must be a choice, not an accident. With 3 in 5 s and doubling back-off, an initial delay ≤ 0.71 s lets one broken child take its supervisor down, and above that the intensity never trips; and any four of many independent processes that die together do too. Somebody who has given an intensity has said that crashes of these children mean something for the whole. Processes that are not tied together have nothing in common but their supervisor. Actors of one program have its code and memory in common, and a fault in them is the program's. The price: a program whose only work is one worker does not end by itself when that is broken; it wants an intensity.)
//!   → [`Budget`](crate::restart::Budget), [`Tracker`](crate::restart::Tracker)
//!
//! - R-1 `Exit` (plain data: Clone, serde) classes: `Requested`, `Clean { code }`, `Failed { code }`, `Signalled { signal, core }`, `NeverStarted { errno, stage }`, `StartTimeout`, `HandshakeFailed`, `HandshakeTimeout`, `ChannelLost`,
//!   `ProtocolViolation`, `Unresponsive`, `LimitExceeded { which }`, `EndedBeforeReady { how, printed }`, `Ignored`; for actors `ActorStopped { reason }`, `ActorFailed { chain }` (panics included), `ActorKilled`; for supervisors `IntensityExceeded`, `StartFailed { child }`, `AutoShutdown`. Which codes and signals count as success is configurable
//!   (`success_codes`, `success_signals`, default 0 and none). An exit that a stop of the whole service may have caused is judged a moment later: if the tree has begun to stop by then it is `Requested`, and never logged as a crash, counted or restarted. It is one by SIGTERM, SIGINT, SIGHUP or SIGQUIT that we did not send (judged 250 ms later), by SIGPIPE, or with any exit code. With a code it waits for half of the shortest back-off, at most 250 ms, so that the siblings of its group have the other half to stop; without a back-off it waits only if the host has got a stop signal itself. The back-off counts from the end of the process, and the board shows it at once: no restart is later for the wait.
//!   A success before *ready* is a failed start (`EndedBeforeReady`), whatever code or signal, restart type and kind of child: it is counted, backed off and part of a crash loop. The exceptions are declared beforehand: `Ignored` (S-8), `AutoShutdown` (S-24), and a start that is declared to complete, which is ready by its success.
//!   → [`Exit`](crate::exit::Exit), [`Success`](crate::process::SuccessExitStatus)
//! - R-2 Backoff: `None`, `Fixed(d)`, `Exponential { initial, factor = 2, max }`. The first delay is exactly `initial`; cap first, then jitter (`0..=1`, as ± fraction, also at
//!   the cap); jitter is seeded. What grows it are early ends in a row: failures, and clean ends before `healthy_after`; after a clean end of a healthy child it is `initial`. `None` (or a fixed delay of zero) is bounded by the intensity alone, and is refused when built under an intensity that is no limit, unless the child has a budget of its own. Default: exponential, 100 ms to 30 s, jitter 0.2; pools and actors: none.
//!   → [`Backoff`](crate::restart::Backoff)
//! - R-3 Consecutive failures reset only after `healthy_after` (default 10 s) of uninterrupted *ready*, never by a mere start or handshake. Clean exits are no failures, and no sign of health either: one that comes before `healthy_after` is early.
//!   → [`RestartPolicy`](crate::restart::RestartPolicy)
//! - R-4 Crash loop: `max_failures` within `window` → `then: CoolOff(d) | GiveUp | Escalate`. After a cool-off one trial start is made; if it fails before `healthy_after`, the next
//!   cool-off follows at once. Failures count; under `budget: Own`, where no intensity counts them, clean ends before `healthy_after` too.
//!   → [`CrashLoop`](crate::restart::CrashLoop)
//! - R-5 `max_total_restarts` (optional) → `Down(GaveUp)`, distinct from `Stopped`, keeps the last failure, and only an operator revives it (counters reset).
//!   → [`RestartLimit::TotalRestarts`](crate::state::RestartLimit::TotalRestarts)
//! - R-6 `NeverStarted` with a permanent error is judged once, with the reason, and not retried unless asked for, as long as the place has never been ready. Permanent is what no later launch is spared: a command that is no command (NUL, empty program, limits), E2BIG, ENAMETOOLONG, ELOOP, EISDIR, EINVAL, EPERM, and, of program, interpreter and directory, ENOENT, ENOTDIR, EACCES (not executable, no regular file), ENOEXEC (no `#!` line, empty), ELIBBAD. EAGAIN, ENOMEM, EMFILE, EIO, ESTALE, ETXTBSY and failed handshakes are
//!   retried within the same budget as crashes. Once the place has been ready, a program or directory that is away, empty, half-written, being written or not executable (ENOENT, ENOTDIR, EACCES, ENOEXEC, ELIBBAD, ETXTBSY, EIO, ESTALE) is being replaced: for `program_grace` (30 s) it is waited for with back-off, never at once, and no counter or budget changes. After that each failed launch counts.
//!   → [`LaunchStage`](crate::exit::LaunchStage), [`RestartLimit::NeverStarts`](crate::state::RestartLimit::NeverStarts)
//! - R-7 Policies can be changed while running (also unset), taking effect at the next decision.
//!   → [`SupervisorRef`](crate::supervision::SupervisorRef)
//! - R-8 An operator's `restart(reason)` works in every state: ready: stop and start; backing off: start now; cooling off, stopped or given up: start, counters reset (it is no trial, R-4). It is never refused by the crash budget and is not a crash; a start that then fails follows the policy. It may be rate-limited (`min_interval`); concurrent requests coalesce.
//!   → [`Node::restart`](crate::supervision::Node::restart), [`WorkerRef::restart`](crate::worker::WorkerRef::restart)
//! - R-9 States, one vocabulary everywhere: `Down(NeverStarted | Ended | Ignored | Stopped | GaveUp { why })`, `Starting`, `Ready`, `Stopping`, `BackingOff { until, attempt }`, `CoolingOff { until }` (the last two are OTP's *restarting* for S-16, S-22, S-24 and all caps). Every change is an event. A stop wins over every timer.
//!   → [`ChildState`](crate::state::ChildState), [`Down`](crate::state::DownReason)
//!
//! ## P. One OS process
//!
//! - P-1 `Command`: program, args (no shell, no splitting of strings), cwd, environment, limits; serde both ways; `Debug` redacts environment values.
//!   → [`Command`](crate::process::Command)
//! - P-2 Environment: cleared by default; `PATH`, `HOME`, `USER`, `LANG`, `LC_*`, `TZ`, `TMPDIR`, `XDG_*`, the proxy and CA variables (`HTTPS_PROXY`, `SSL_CERT_FILE`, …) pass; more can be named; the caller's values win; `inherit_env(true)` passes all. `SHLVL` says that a shell is around the process (1, or the host's if it passes and lies between 1 and 99), so that no shell takes a socket as stdin for a remote login and reads a start-up file that it would not read on a pipe; where the caller's own value does not say so, the process gets pipes.
//!   → [`Environment`](crate::process::Environment)
//! - P-3 stdin and stdout are the channel; stderr is drained always, line by line, into `tracing` and into a bounded tail (default 8 KiB, newest kept, cut at char boundaries), over-long
//!   lines truncated. A child that never writes, or floods, costs the host bounded memory. The stdout of a process without a channel is read in the same way, into a target and a tail of its own.
//!   → [`Tail`](crate::process::Tail), [`drain`](crate::process::drain)
//! - P-4 Every child leads its own session and process group (a group only, where posix_spawn has nothing better); signals go to the group; after every exit, clean ones included, the group is swept, so that grandchildren do not survive: at once after an unrequested exit; in an orderly stop the leader's exit does not shorten the ladder for the rest of its group
//!   (emptiness is read from `cgroup.events`, else from a scan every 50 ms, only while a leader has gone first; `kill(-pgid, 0)` succeeds while only the zombie leader is left).
//!   Without a control group, processes that have left the group but not the session are signalled and swept too: by one look at the process table for all that ask, which delays no
//!   successor of a crash. A stop, a removal, a reload and the end of the supervisor are answered after it. All threads for that are there since the first launch.
//!   → [`ProcessControl::reap_after_exit`](crate::process::ProcessControl::reap_after_exit)
//!   Where there is a control group it reaches all descendants, and groups that they make in it, as many and as deep as they like, go with it: signalling and removing them
//!   takes no stack, two descriptors, time in proportion to their number, and none of it on a thread of the runtime.
//!   → [`Control`](crate::process::ProcessControl)
//! - P-5 Only stdio reaches the child: every other descriptor is close-on-exec; signal mask and dispositions are reset. And only bytes come back: the host's ends of a channel refuse descriptors that a process sends (`SO_PASSRIGHTS`, Linux 6.16); where they cannot, a channel is made of pipes.
//!   → [`OsLauncher`](crate::process::OsLauncher), [`Sockets`](crate::process::SocketMode)
//! - P-6 Optional limits: address space, open files, CPU seconds, core size, processes, nice, OOM score, uid/gid, no-new-privileges; a cgroup v2 with memory and pids limits where the host delegates one. A limit that cannot be applied is a mistake of the declaration where that shows without a process, else a failed launch.
//!   → [`Limits`](crate::process::Limits)
//! - P-7 Exit is observed by waiting for the process (pidfd where there is one), never by guessing from a signal sent; a signal is only ever sent to a process not yet reaped. A host that ignores SIGCHLD (inherited, as a rule) would never see a status: a launch puts that right, with a warning. A host that is process 1 or a subreaper, without a guardian, reaps those adopted orphans whose session or control group was that of a process of a launcher; all others only if told so.
//!   → [`Control`](crate::process::ProcessControl), [`ExitStatus`](crate::process::ExitStatus), [`ReapAdopted`](crate::process::ReapAdopted)
//! - P-8 Grandchildren that keep stdout open do not keep the worker alive: after the exit, output is drained until EOF or a short bound, whichever is first.
//!   → [`WorkerActor`](crate::worker::WorkerActor)
//! - P-9 Stop ladder: the calls under way are answered, then the process's own requests → the protocol's shutdown request (or closing stdin), when that is done, or when a fifth of `drain` is left, at most 2 s → the rest of `drain` (10 s in all) → SIGTERM to the group → `term_grace` (5 s) → SIGKILL → reap (bounded).
//!   Each step ends as soon as the process is gone. A nearer deadline, also the tree's, shortens each of them and brings the shutdown request forward. Calls that are made meanwhile are not waited for. A shutdown request that is not answered until a fifth of `drain` is left is followed by the end of stdin; an acknowledged one
//!   leaves the process its whole drain time. (Calls first, because servers made with Python's SDK abort them at the end of their stdin, and language servers at `exit`.) Stop is joinable: every caller gets the same outcome.
//!   → [`Ladder`](crate::process::Ladder), [`terminate`](crate::process::terminate)
//! - P-10 Dropping the handle, cancelling the start, killing the actor: the process group gets SIGKILL and is reaped in the background.
//!   → [`Process`](crate::process::Process), [`ReapToken`](crate::process::ReapToken)
//! - P-11 For protocols with a channel, a closed stdin or stdout of a living child is `ChannelLost`: it is killed and counts as a crash. (One socketpair or pipe per direction makes it visible; on a single socketpair it is not.) `Bare` and `FirstLine` ignore closed stdio, their stdout is drained as log lines, and they get pipes, which they may open again by name. EPIPE never reaches the embedding service.
//!   → [`Channel`](crate::protocol::Channel), [`Exit::ChannelLost`](crate::exit::Exit::ChannelLost)
//! - P-12 If the host itself is SIGKILLed, no direct child survives by more than a second (except programs whose exec clears the death signal: setuid, file capabilities); with `guardian()`, no descendant does (an owned cgroup only lets the guardian, or the next start, find and kill them all). `guardian()` returns an error if threads already run. `Containment` reports what holds.
//!   → [`guardian`](crate::process::guardian), [`Containment`](crate::containment::Containment)
//! - P-13 Launch cost does not grow with the host's memory.
//!   → [`Technique`](crate::process::Technique)
//!
//! ## C. The RPC channel (JSON-RPC 2.0)
//!
//! - C-1 Framing: one JSON text per line, or `Content-Length` headers. Frames in are bounded (default 64 MiB), over-size is `ProtocolViolation`, memory stays bounded while reading it. Frames out are bounded too (`max_outgoing_frame_bytes`, default what the protocol's programs take: 64 MiB, for MCP 10 MiB less 64 KiB): a larger call or notification is `NotSent`, a larger result becomes −32603, a larger batch of answers is sent in parts.
//!   → [`Framing`](crate::rpc::Framing), [`PeerConfig`](crate::rpc::PeerConfig)
//! - C-2 Typed methods: `trait Method { const NAME; type Params: Serialize; type Output: DeserializeOwned; }`, and untyped `call_value`. Requests and notifications in both directions; incoming batches are understood, none are sent.
//!   → [`Method`](crate::rpc::Method), [`Notification`](crate::rpc::Notification)
//! - C-3 Timeouts: call > method > worker > tree (default 60 s); `None` is expressible; zero is refused. A timed-out or dropped call sends the protocol's cancel and its late answer is discarded.
//!   → [`Timeout`](crate::rpc::Timeout)
//! - C-4 Every call is answered exactly once: result, remote error (code, message, data preserved), timeout, cancelled, or `WorkerLost { exit, stderr_tail }`. When the process dies: the group is swept, the pipes are drained to EOF (bounded, P-8), answers found there are delivered, and all others fail within 1 ms after that.
//!   → [`CallError`](crate::rpc::CallError), [`Lost`](crate::rpc::ExitReport)
//! - C-5 Bounds: calls in flight (default 1024), bytes queued to stdin (default 8 MiB). Calls wait for room (up to their timeout); droppable notifications are dropped and counted.
//!   → [`PeerConfig`](crate::rpc::PeerConfig)
//! - C-6 The reader never waits for the writer, and neither waits for a handler: two sides calling each other at full load never deadlock. Handlers run concurrently up to a limit (64); further requests queue (1,024 or 8 MiB), then get −32000 *overloaded*; if even replies find no room the child is `LimitExceeded`. Notifications are delivered in arrival order,
//!   and before any response that follows them. However many messages a process sends at once, the reader lets other tasks run after a few hundred of them.
//!   → [`Peer`](crate::rpc::Peer), [`Handler`](crate::rpc::Handler)
//! - C-7 A handler that panics answers −32603; unknown method −32601; invalid params −32602 with serde's path. Only a message with a `method` asks for something, so nothing else is ever answered: a request that cannot be read gets −32700, an object with a method that is no request −32600,
//!   with its id if that can be told and with null otherwise; at most 100 such errors are sent in a second. (JSON-RPC 2.0 §5 would have any JSON that is no request answered. Then one line of a JSON logger starts an exchange of errors that never ends.)
//!   → [`Router`](crate::rpc::Router), [`rpc::error_codes`](crate::rpc::error_codes)
//! - C-8 Lines on stdout that are no message, JSON or not, are logged as the child's noise (bounded), or are a violation: `noise: Log | Violation`.
//!   → [`Noise`](crate::rpc::Noise)
//! - C-9 Calls in flight at a restart are not silently retried; a method marked idempotent may be, on the next incarnation, within its original deadline.
//! - C-10 Streams: a call or notification may open a stream of items, with a bounded buffer and an explicit end; if the worker dies the stream ends with the exit, once. Streams are keyed by incarnation and id.
//! - C-11 Only the writer task touches stdin, and only in whole frames; cancelling a caller never leaves half a frame. A write that makes no progress for `write_stall` (default 60 s, only while `Ready`) is `Unresponsive`.
//!   → [`PeerConfig::write_stall`](crate::rpc::PeerConfig::write_stall)
//! - C-12 Every failed call says what is known of its outcome: `NotSent` (safe to send again), `Unknown` (handed to the pipe, no answer), `Failed` (the child answered). `is_retryable()` follows it. `is_retryable` is false, of this and of every other error, for what can never start as it is declared and for what a policy has given up.
//!   → [`CallOutcome`](crate::rpc::CallOutcome)
//! - C-13 One bad frame fails nothing but itself. An answer that cannot be read fails its call at once, as long as its id is legible: with the beginning of the text and the place of the mistake (which is also a warning), in a handshake too. An error whose id is null, empty or missing is logged; it fails the call that was sent last, with the outcome `Unknown`, if that is the only open one and nothing has been sent since. Both sides may use the same ids: they are matched by direction (in an answer `1.0`, `1e0` and `"1"` are 1, since all ids of ours are numbers; in a request they go back as they came, and `1` is not `"1"`); a timed-out id is remembered long enough that its late answer is not an "unknown id", of which an answer is a warning.
//!   Raw U+2028/U+2029 are escaped on the way out; CR LF, blank lines, a null id and extra headers (behind Content-Length; elsewhere they are noise) are accepted. A message with a null id is taken as a notification if its method is one here (the handler says so, or the protocol).
//!   → [`RequestId`](crate::rpc::RequestId)
//! - C-14 Progress notifications may extend a call's timeout up to its maximum. Requests from the child are answered also while it is being stopped: those that are open when its last call has been answered are waited for (P-9).
//!   → [`Handler`](crate::rpc::Handler)
//! - C-15 What one process can make its host hold is bounded, whatever it sends, by the sum of the bounds of its channel times 1.2. Nothing that it sends is expanded before it is bounded: what is only compared, forwarded or thrown away is not built, and what is kept is cut first
//!   (log messages 16 KiB, reasons 2 KiB, messages of errors 1 MiB, announced methods 4,096 with 256 KiB of names, ids 1 KiB). What waits is counted by what it holds. A channel that has ended holds nothing but the names of its methods, however long handles to it are kept.
//!   → [`PeerConfig::worst_case_bytes`](crate::rpc::PeerConfig::worst_case_bytes)
//!
//! ## W. The worker actor
//!
//! - W-1 *Ready* means the protocol's handshake succeeded. It is raced against exit and its own timeout (default 15 s): a child that dies at once fails at once,
//!   and whoever waited for it, or for an answer, reads the exit and the end of stderr in the error, bounded and on one line.
//!   → [`Protocol::handshake`](crate::protocol::Protocol::handshake)
//! - W-2 `WorkerRef`: `call`, `notify`, `stream`, `state()`, `wait_ready(deadline)`, `diagnostics()`, `restart(reason)`, `stop()`. Works from any task; survives incarnations.
//!   → [`WorkerRef`](crate::worker::WorkerRef)
//! - W-3 Liveness: optional ping each `interval` with `timeout` and `failures_allowed`; past it the worker is `Unresponsive`, killed, and counts as a crash. Pings are no activity.
//!   → [`Liveness`](crate::worker::Liveness)
//! - W-4 Diagnostics: path, state, incarnation, pid, uptime, ready since, consecutive and total failures, pending calls, bytes queued, last exit, last start error, next restart at, stderr tail, RSS and CPU time; the tail of stdout and the first line of a worker without a channel.
//!   → [`WorkerSnapshot`](crate::snapshot::WorkerSnapshot)
//! - W-5 Optional recycling: after `max_calls`, `max_age` or `max_rss`, when idle, without counting as a crash.
//!   → [`PoolSpec::recycle_after`](crate::pool::PoolSpec::recycle_after)
//! - W-6 Optional `standby`: one more incarnation, launched and shaken hands with, waits beside the live one; a crash promotes it at once and a new standby is prepared behind it. It counts against caps and memory, takes part in
//!   stops and reloads, carries its own incarnation number, and is never given work before its promotion. A promotion is a restart without delay and counts as one; the spare behind it backs off; a dying spare counts nothing. (This and G-14 are the only places where two processes of one child are alive together.)
//! - W-7 Protocols that ship: `Bare` (ready when launched), `FirstLine` (ready when it prints an expected line, whatever colours, byte order mark, blanks or carriage returns are before it, ended or not; the line is handed out per incarnation, and a time-out names the one that was awaited), `Plugin` (G rules), `Lsp` (initialize/initialized, shutdown/exit, `$/cancelRequest`, Content-Length), `Mcp`
//!   (both eras: revision 2026-07-28 with `server/discover` and no initialize; older ones with initialize/initialized, ping; the dual-era client probes discover and falls back on *any* error or silence; cancel by `notifications/cancelled`; stop by closing stdin).
//!   A user's own protocol is one small trait implementation.
//!   → [`Bare`](crate::protocol::Bare), [`FirstLine`](crate::protocol::FirstLine), [`Plugin`](crate::protocol::Plugin), [`Lsp`](crate::protocol::Lsp), [`Mcp`](crate::protocol::Mcp)
//! - W-8 `on_ready(peer, incarnation)` runs after the handshake and before the first call is admitted (replay of subscriptions, open documents, logins); its failure is `HandshakeFailed`.
//!   → [`OnReady`](crate::worker::OnReady)
//! - W-9 The `Command` may be made per incarnation (`Fn(Incarnation) -> Command`: a fresh token, a fresh port).
//!   → [`CommandSource`](crate::worker::CommandSource)
//!
//! ## G. Plugins
//!
//! - G-1 One worker per plugin id. `start_plugin` while a start is in flight joins it; while registered and alive it answers `AlreadyStarted`. Its caller gets the first verdict: after a failed start nothing is left behind and a new start works. (Plugins listed in the configuration start in the background and are retried, S-7.)
//!   → [`Plugins::start_plugin`](crate::plugin::Plugins::start_plugin)
//! - G-2 Handshake `initialize { manifest, config, instanceInfo, apiVersion }` → `{ ok, supportedMethods }`. Calls to methods that were not announced fail locally with `MethodNotSupported`.
//!   → [`Plugin`](crate::protocol::Plugin)
//! - G-3 Host methods by router, with the caller's plugin id, path and incarnation in the context. Replies never reach another incarnation.
//!   → [`plugin_of`](crate::plugin::plugin_of), [`Context`](crate::rpc::Context)
//! - G-4 `log { level, message, meta }` notifications become `tracing` events with the plugin's fields and go to a bounded ring of recent entries.
//!   → [`LogRecord`](crate::plugin::LogRecord)
//! - G-5 `streams.open/emit/close` by (plugin, incarnation, channel, scope); open ones are closed synthetically, once, when the worker ends.
//! - G-6 Failing plugins never disturb others. A failed (re-)initialize is a crash like any other: retried with backoff, within the budget.
//!   → [`PluginSupervisor`](crate::plugin::PluginSupervisor)
//! - G-7 Start of many plugins is bounded (`start_concurrency`, default 4); restarts and reloads take no turn. `stop_all` stops all in parallel, reports every failure, refuses starts from then on.
//!   → [`PluginHostSpec::start_concurrency`](crate::plugin::PluginHostSpec::start_concurrency), [`Plugins::stop_all`](crate::plugin::Plugins::stop_all)
//! - G-8 Error codes of the plugin protocol: −32000 unavailable, −32001 capability denied, −32002 worker error, −32003 timeout, −32004 not implemented, −32099 unknown.
//!   → [`protocol::error_codes`](crate::protocol::error_codes)
//! - G-9 Capabilities: a plugin's manifest names the host methods it may call; others get −32001.
//!   → [`PluginSpec::capabilities`](crate::plugin::PluginSpec::capabilities)
//! - G-10 On-demand: `ensure_ready(id)` joins a start, and starts what is dormant or has ended by itself; its policy rules from the first start on, so that no number of callers launches it more often than that says, and its counters stay as they are.
//!   For one that an operator has stopped, or its policy has given up, the answer is an error that says so, and how it ended: only an operator (`restart_plugin`, `start_plugin`) revives it. Keys of pools keep L-7: after their rest the next caller has them tried again.
//!   → [`Plugins::ensure_ready`](crate::plugin::Plugins::ensure_ready)
//! - G-11 Events: crashed (code, signal, will_restart, delay), restarted (only after a crash), ready, gave up, config changed, rolled back.
//!   → [`PluginEvent`](crate::plugin::PluginEvent)
//! - G-12 `configChanged { config }` is a request, sent live if the worker announced it; an answer that is no error means that the worker has it. A worker that did not announce it, or does not answer within 10 s, restarts with the new config.
//!   A config that is refused (the answer is an error) or with which the restart fails is rolled back: the last one that the worker took is in force again, its caller is told, and so is the event stream. Of several changes at once the last one decides for all.
//!   → [`Plugins::set_config`](crate::plugin::Plugins::set_config), [`ConfigApplied`](crate::plugin::ConfigApplied)
//! - G-13 Reload: new command, args, env, cwd or config for a running plugin; validated before anything is stopped; if the new one fails to become ready, the old definition is restored and running again, and the caller is told.
//!   → [`Plugins::reload`](crate::plugin::Plugins::reload)
//! - G-14 Swap reload: the new incarnation is started and made ready *beside* the old one, new calls move over atomically, the old one drains its calls and stops: no call fails. (Here and in W-6 two processes of one child overlap; they carry different incarnations.)
//! - G-15 Optional file watching (debounced) that reloads on change.
//! - G-16 Plugins started at run time belong to the host's place and return after a restart of the plugin host (pool keys return on demand).
//!   → [`PluginHostSpec::child`](crate::plugin::PluginHostSpec::child)
//!
//! ## L. Pools
//!
//! - L-1 Keyed pool: `acquire(key)` gives a lease on that key's worker, starting it if needed; callers for a starting key join that start; a session id can be registered for a key before the process starts, and looked up.
//!   → [`PoolSpec::keyed`](crate::pool::PoolSpec::keyed), [`Pool::acquire`](crate::pool::Pool::acquire)
//! - L-2 Anonymous pool: `acquire()` gives the least loaded worker, or starts one, between `min` and `max`; `per_worker` concurrent leases.
//!   → [`PoolSpec::anonymous`](crate::pool::PoolSpec::anonymous), [`Pool::acquire_any`](crate::pool::Pool::acquire_any)
//! - L-3 The cap is never exceeded, whatever number of callers race. Starting, ready and stopping workers all count.
//!   → [`Ledger`](crate::pool::ledger::Ledger)
//! - L-4 At the cap: evict the least recently used *idle* worker; if none is idle, wait in a bounded FIFO queue up to a deadline (`Exhausted` when the queue is full, `Timeout` at the deadline). A busy worker is killed only if `evict_busy` is set, and its holder's calls fail with that reason.
//!   → [`AcquireError`](crate::pool::AcquireError), [`PoolSpec::evict_busy`](crate::pool::PoolSpec::evict_busy)
//! - L-5 Idle TTL, warm spares (`min_idle`), recycling (W-5), `resize(max)` at run time, `drain()`, bounded start concurrency.
//!   → [`PoolSpec`](crate::pool::PoolSpec), [`Pool::drain`](crate::pool::Pool::drain)
//! - L-6 A lease ends by drop. A caller that vanishes gives its place in the queue to the next, nothing leaks.
//!   → [`Lease`](crate::pool::Lease)
//! - L-7 A lease is of an incarnation, a key is of a place: a worker's death tells its holders at once, the key stays assigned and its next acquire gets the restarted incarnation. Once the channel of a worker has ended, or its exit is known, it is retracted before anything else: no lease of it is given, whatever number of callers and threads, and its leases are over; a kill costs at most the calls under way on it. Backing-off keys count against the cap and are evicted first. A key that its policy has given up rests for `failed_pause` (30 s): callers are refused at once, and nothing is started.
//!   → [`Revocation`](crate::pool::Revocation)
//! - L-8 Status: per key state, pid, session, calls done, last used, uptime, queue length; totals; a snapshot is taken without stopping anything.
//!   → [`PoolReport`](crate::pool::PoolReport)
//! - L-9 Health probes and snapshots never count as use.
//!   → [`Pool::status`](crate::pool::Pool::status)
//!
//! ## T. Tree
//!
//! - T-1 `Tree::builder()` in code, or `TreeSpec` by serde (TOML or JSON): strategy, intensity, ordered children: pools, plugin hosts, plain process workers, nested supervisors, and (in code) any actor. Unknown fields and bad values are errors with the path of the field. A start on a runtime without a timer is an error, and so is a launch on one without I/O.
//!   → [`TreeBuilder`](crate::tree::TreeBuilder)
//! - T-2 `tree.find(path)`, `tree.worker(path)`, `tree.pool(name)`, `tree.plugins(name)`; paths look like `/agents/team-a->team-b`; a slash inside a key is escaped.
//!   → [`Tree::find`](crate::tree::Tree::find)
//! - T-3 `tree.wait()` ends with the causal chain; `tree.shutdown(deadline)` ends everything in order; dropping the last handle shuts the tree down in the background.
//!   → [`Tree::wait`](crate::tree::Tree::wait)
//! - T-4 `tree.run_until_signal()` does what a service wants on SIGTERM, SIGINT, SIGHUP and SIGQUIT: orderly stop, second signal hard stop (one within 250 ms is an echo of the first: what starts a host often passes on what its whole group gets), exit code; default deadline 25 s. A value says which signals stop and which reload; signals that were ignored when it is called stay ignored. `tree.ready()` and `tree.health()` are there for probes; health says how each child that was given up, or waits, ended last. It also names keys that rest and workers that an anonymous pool lacks, which have no place of their own.
//!   → [`Tree::run_until_signal`](crate::tree::Tree::run_until_signal), [`SignalPolicy`](crate::tree::SignalPolicy)
//!
//! ## E. Events and snapshots
//!
//! - E-1 One event stream per tree: sequence number, `Timestamp`, path, incarnation, kind, from → to, cause. No gaps in the numbers; a slow subscriber learns how many it lost. Serde both ways.
//!   → [`Event`](crate::event::Event), [`EventReceiver`](crate::supervision::EventReceiver)
//! - E-2 A snapshot is a plain serialisable tree with everything of W-4 and every supervisor's strategy, budget used and left, oldest-first children. It has the wall clock of its moment beside the tree's, so that every `Timestamp` can be given a time of day. Durations are written in one form everywhere (`"1m 30s"`), and texts for people never show the tree's clock outside of events. Its figures are those of that very moment: failures in a row are what an exit would find, and a plugin that is stopped, has ended or was given up keeps its last exit, its counts, the end of its stderr and the time of its last crash.
//!   → [`Snapshot`](crate::snapshot::Snapshot)
//! - E-3 Nobody reports what did not happen: no `stopped` before the process is reaped, no `restarted` after an operator's start, no `crashed` for a requested stop.
//!   → [`Event::is_crash`](crate::event::Event::is_crash), [`PluginEventKind`](crate::plugin::PluginEventKind)
//! - E-4 A process cannot flood the log. At most 100 lines of one kind are logged in a second for each channel: of its log messages, its noise, its unusable messages, answers and
//!   notifications, what it may not do, and panics of the host's handlers; of its stderr and of a stdout that is no channel likewise. The rest is counted, and the count is logged at the end of that second at the latest.
//!   Nor can it forge a line: whatever comes from a process, an id or a key is one escaped line of bounded length, at every level, in fields as in texts. Ids of children, keys and sessions of pools have at most 1 KiB.
//!   → [`drain`](crate::process::drain), [`LogSink`](crate::worker::LogSink)
//! - E-5 An answer comes last. When an operation returns (`wait_ready`, `acquire`, `stop_plugin`, a request to a supervisor), everything that it did can be seen from
//!   every thread: the state is on the board, the event is on the stream, a worker that is said to be ready takes calls, and one that was removed is not found.
//!   The state and the live incarnation change together: a place in state `Ready` is reached, unless its end has just become known.
//!   → [`Node::wait_ready`](crate::supervision::Node::wait_ready), [`Action::Admit`](crate::supervision::machine::Action::Admit)
//! - E-6 Every event of the log names the child it is about, in one form: `path` and `incarnation` are fields of the event itself, never only of a span, and no span stands before it. Exempt is what concerns the host as a whole.
//!   → [`drain`](crate::process::drain)
//! - E-7 Settings of a process may be secrets: the values of its environment, its arguments, the settings of its protocol, manifests and configurations of plugins are in no `Debug`, snapshot, event or error, and in no line of the log. (The output of a process is not searched for them.)
//!   → [`Command`](crate::process::Command), [`protocol`](crate::protocol)
//!
//! ## D. Tests
//!
//! - D-1 Everything above is testable with scripted processes under paused time, without sleeping, and the same seed gives the same event log: 200 runs, one hash.
//!   → [`ScriptedLauncher`](crate::testing::ScriptedLauncher)
//! - D-2 What only the kernel can prove (signals, groups, orphans, pipes, limits) is tested with real processes, waiting on conditions, never on fixed sleeps.
