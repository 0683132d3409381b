//! Random supervisors and what happens to them. Steps name children and incarnations by small numbers that
//! are taken modulo what there is, so that a history stays meaningful while it is being shrunk.

use proptest::{collection::vec, prelude::*};

use procession::{
    exit::{Exit, LaunchStage},
    restart::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, Intensity, RestartPolicy, RestartType},
    state::{GiveUpReason, Strategy as Restarts},
    supervision::{AutoShutdown, ChildPolicy, Shutdown, StartMode, SupervisorFlags},
};

use crate::{
    model::ExitClass,
    rig::{clean, crash, ms},
};

/// How an incarnation ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Crash,
    Clean,
    Stops,
    AutoShutdown,
    Requested,
    Ignored,
    NoSuchProgram,
    TooLong,
    BeingWritten,
    NoMemory,
    GaveUp,
}

impl How {
    pub(crate) fn exit(self) -> Exit {
        let never =
            |errno| Exit::NeverStarted { errno: Some(errno), stage: LaunchStage::Exec, reason: "x".into() };
        match self {
            How::Crash => crash(),
            How::Clean => clean(),
            How::Stops => Exit::ActorStopped { reason: None },
            How::AutoShutdown => Exit::AutoShutdown { child: "leaf".into() },
            How::Requested => Exit::Requested,
            How::Ignored => Exit::Ignored,
            How::NoSuchProgram => never(2),
            How::TooLong => never(7),
            How::BeingWritten => never(26),
            How::NoMemory => never(12),
            How::GaveUp => Exit::IntensityExceeded {
                child: "leaf".into(),
                cause: crash().into(),
                limit: GiveUpReason::TotalRestarts { max: 1 },
            },
        }
    }

    pub(crate) fn verdict(self, restart: RestartType) -> ExitClass {
        match self {
            How::Clean | How::Stops | How::AutoShutdown | How::Ignored => ExitClass::Clean,
            How::Requested => ExitClass::Requested,
            How::NoSuchProgram => ExitClass::Missing,
            How::TooLong => ExitClass::Never,
            How::BeingWritten => ExitClass::Busy,
            // S-17
            How::GaveUp if restart == RestartType::Transient => ExitClass::Clean,
            How::Crash | How::NoMemory | How::GaveUp => ExitClass::Failure,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Start,
    Terminate,
    RestartChild,
    Delete,
    Remove,
    Restart,
    Demand,
    Reload,
    ReloadNext,
    KeepNext,
    Recycle,
    StopIdle,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An incarnation that is starting (or, if there is none, any) says that it is ready.
    Ready(u8),
    /// The end of a primary one is foreseen.
    Failing(u8),
    /// An incarnation ends.
    End(u8, How),
    /// An incarnation that was asked to stop has stopped.
    Gone(u8),
    /// Something of an old incarnation arrives.
    Stale(u8, u8),
    /// Time passes; timers may be late.
    Wait(u16),
    /// The next timer fires.
    Fire,
    Ask(Ask, u8, Policy),
    SetPolicy(u8, Policy),
    Shutdown,
    Kill,
}

/// A child's policy before it is fitted to its supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    restart: RestartType,
    start: StartMode,
    overlap: bool,
    standby: bool,
    significant: bool,
    backoff: u8,
    crash_loop: u8,
    own: bool,
    max_total: Option<u32>,
    retry_never: bool,
    min_interval: bool,
    shutdown: u8,
}

impl Policy {
    /// Of a child that has, or may get, a spare.
    pub(crate) fn not_temporary(&self) -> Policy {
        let restart = match self.restart {
            RestartType::Temporary => RestartType::Transient,
            other => other,
        };
        Policy { restart, ..self.clone() }
    }

    pub(crate) fn fit(&self, flags: &SupervisorFlags) -> ChildPolicy {
        let then = match self.crash_loop % 3 {
            // Refused where siblings restart together.
            0 if flags.strategy == Restarts::OneForOne => Some(CrashLoopAction::cool_off(ms(40))),
            0 | 1 => Some(CrashLoopAction::GiveUp),
            _ => Some(CrashLoopAction::Escalate),
        };
        let crash_loop = then.map(|then| CrashLoop::new(1 + u32::from(self.crash_loop / 3), ms(60), then));
        let mut restart = RestartPolicy::actor()
            .with_restart(self.restart)
            .with_healthy_after(ms(25))
            .with_max_total_restarts(self.max_total)
            .with_retry_never_started(self.retry_never)
            .with_program_grace(ms([0, 35, 30_000][usize::from(self.shutdown % 3)]))
            .with_min_interval(self.min_interval.then(|| ms(12)))
            .with_backoff(match self.backoff {
                0 => Backoff::None,
                1 => Backoff::fixed(ms(15)),
                _ => Backoff::exponential(ms(10), ms(40)),
            });
        if self.own {
            restart.budget = Some(BudgetScope::Own(crash_loop.unwrap_or_default()));
        } else if self.crash_loop < 9 {
            restart.crash_loop = crash_loop;
        }
        let always = matches!(self.restart, RestartType::Permanent | RestartType::UnlessStopped);
        ChildPolicy {
            restart,
            shutdown: match self.shutdown {
                0 => Shutdown::BrutalKill,
                1 => Shutdown::Timeout(ms(5)),
                _ => Shutdown::Infinity,
            },
            start: self.start,
            overlap: self.overlap,
            standby: self.overlap
                && self.standby
                && flags.strategy == Restarts::OneForOne
                && self.restart != RestartType::Temporary,
            significant: self.significant && flags.auto_shutdown != AutoShutdown::Never && !always,
            ..ChildPolicy::actor()
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) flags: SupervisorFlags,
    pub(crate) children: Vec<Policy>,
    /// All goes well until it has started.
    pub(crate) starts_well: bool,
    pub(crate) steps: Vec<Step>,
}

fn policy() -> impl Strategy<Value = Policy> {
    let restart = prop_oneof![
        6 => Just(RestartType::Permanent),
        3 => Just(RestartType::Transient),
        2 => Just(RestartType::Temporary),
        1 => Just(RestartType::OnSuccess),
        2 => Just(RestartType::UnlessStopped),
    ];
    let max_total = prop_oneof![5 => Just(None), 1 => (0_u32..3).prop_map(Some)];
    let crash_loop = prop_oneof![4 => Just(9_u8), 1 => 0_u8..9];
    let one_in = |n: u32| prop::bool::weighted(1.0 / f64::from(n));
    let start = prop_oneof![
        5 => Just(StartMode::Required),
        2 => Just(StartMode::Background),
        2 => Just(StartMode::OnDemand),
    ];
    let beside = prop_oneof![
        3 => Just((false, false)),
        2 => Just((true, false)),
        3 => Just((true, true)),
    ];
    (
        (restart, start, beside),
        one_in(3),
        0_u8..3,
        crash_loop,
        one_in(8),
        max_total,
        one_in(4),
        0_u8..3,
        one_in(6),
    )
        .prop_map(
            |(
                (restart, start, (overlap, standby)),
                significant,
                backoff,
                crash_loop,
                own,
                max_total,
                retry_never,
                shutdown,
                min_interval,
            )| {
                Policy {
                    restart,
                    start,
                    overlap,
                    standby,
                    significant,
                    backoff,
                    crash_loop,
                    own,
                    max_total,
                    retry_never,
                    min_interval,
                    shutdown,
                }
            },
        )
}

fn flags() -> impl Strategy<Value = SupervisorFlags> {
    let strategy = prop_oneof![
        2 => Just((Restarts::OneForOne, false)),
        1 => Just((Restarts::OneForOne, true)),
        3 => Just((Restarts::OneForAll, false)),
        4 => Just((Restarts::RestForOne, false)),
    ];
    let auto_shutdown = prop_oneof![
        4 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        2 => Just(AutoShutdown::AllSignificant),
    ];
    let max_children = prop_oneof![4 => Just(None), 1 => (4_usize..7).prop_map(Some)];
    let max_restarts = prop_oneof![1 => 0_u32..2, 4 => 2_u32..20];
    (strategy, max_restarts, 20_u64..200, auto_shutdown, max_children).prop_map(
        |((strategy, dynamic), max_restarts, period, auto_shutdown, max_children)| SupervisorFlags {
            strategy,
            dynamic,
            intensity: Some(Intensity::new(max_restarts, ms(period))),
            auto_shutdown,
            max_children,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        8 => Just(How::Crash),
        3 => Just(How::Clean),
        1 => Just(How::Stops),
        1 => Just(How::AutoShutdown),
        1 => Just(How::Requested),
        1 => Just(How::Ignored),
        2 => Just(How::NoSuchProgram),
        1 => Just(How::TooLong),
        1 => Just(How::BeingWritten),
        1 => Just(How::NoMemory),
        1 => Just(How::GaveUp),
    ];
    let ask = prop_oneof![
        1 => Just(Ask::Start),
        1 => Just(Ask::Terminate),
        1 => Just(Ask::RestartChild),
        1 => Just(Ask::Delete),
        1 => Just(Ask::Remove),
        1 => Just(Ask::Restart),
        1 => Just(Ask::Demand),
        2 => Just(Ask::Reload),
        1 => Just(Ask::ReloadNext),
        1 => Just(Ask::KeepNext),
        2 => Just(Ask::Recycle),
        1 => Just(Ask::StopIdle),
    ];
    prop_oneof![
        24 => any::<u8>().prop_map(Step::Ready),
        4 => any::<u8>().prop_map(Step::Failing),
        16 => (any::<u8>(), how).prop_map(|(n, how)| Step::End(n, how)),
        14 => any::<u8>().prop_map(Step::Gone),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(n, what)| Step::Stale(n, what)),
        6 => (0_u16..60).prop_map(Step::Wait),
        8 => Just(Step::Fire),
        18 => (ask, any::<u8>(), policy()).prop_map(|(ask, n, policy)| Step::Ask(ask, n, policy)),
        1 => (any::<u8>(), policy()).prop_map(|(n, policy)| Step::SetPolicy(n, policy)),
        1 => prop_oneof![3 => Just(Step::Shutdown), 1 => Just(Step::Kill)],
    ]
}

/// Children that live long, often with a second incarnation, and are reloaded again and again.
pub(crate) fn replacements() -> impl Strategy<Value = History> {
    let strategy = prop_oneof![
        5 => Just(Restarts::OneForOne),
        1 => Just(Restarts::OneForAll),
        1 => Just(Restarts::RestForOne),
    ];
    let patient = |overlaps: bool, mut policy: Policy| {
        policy.overlap |= overlaps;
        policy.standby |= overlaps;
        policy.significant = false;
        policy.max_total = None;
        policy.crash_loop = policy.crash_loop.max(6);
        policy
    };
    let policies = || (prop::bool::weighted(0.7), policy()).prop_map(move |(o, p)| patient(o, p)).boxed();
    let ask = prop_oneof![
        3 => Just(Ask::Reload),
        1 => Just(Ask::ReloadNext),
        1 => Just(Ask::KeepNext),
        3 => Just(Ask::Recycle),
        1 => Just(Ask::StopIdle),
        1 => Just(Ask::Demand),
        1 => Just(Ask::Restart),
    ];
    let how = prop_oneof![6 => Just(How::Crash), 1 => Just(How::Clean), 1 => Just(How::Ignored), 1 => Just(How::BeingWritten)];
    let few = prop_oneof![
        24 => any::<u8>().prop_map(Step::Ready),
        8 => any::<u8>().prop_map(Step::Failing),
        16 => (any::<u8>(), how).prop_map(|(n, how)| Step::End(n, how)),
        8 => any::<u8>().prop_map(Step::Gone),
        4 => (0_u16..60).prop_map(Step::Wait),
        8 => Just(Step::Fire),
        18 => (ask, 0_u8..128, policies()).prop_map(|(ask, n, policy)| Step::Ask(ask, n, policy)),
    ];
    let steps = prop_oneof![12 => few, 1 => step()];
    (strategy, 20_u32..60, vec(policies(), 1..3), vec(steps, 0..60)).prop_map(
        |(strategy, max_restarts, children, steps)| History {
            flags: SupervisorFlags {
                strategy,
                intensity: Some(Intensity::new(max_restarts, ms(100))),
                ..SupervisorFlags::default()
            },
            children,
            starts_well: true,
            steps,
        },
    )
}

pub(crate) fn history() -> impl Strategy<Value = History> {
    (flags(), vec(policy(), 0..5), prop::bool::weighted(0.75), vec(step(), 0..70))
        .prop_map(|(flags, children, starts_well, steps)| History { flags, children, starts_well, steps })
}
