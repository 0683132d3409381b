//! The checks of declarations: of one plugin, of a whole host, and of a plugin that is added at run time.
//!
//! A plugin is checked together with the restart policy that it gets in its host, so that policy is made here
//! too.

use super::{
    host_spec::PluginHostSpec,
    spec::{PluginProtocol, PluginSpec},
};
use crate::{
    restart::{CrashLoop, RestartPolicy, RestartType},
    supervision::{ChildPolicy, SpecError, SpecErrors, StartMode, SupervisorFlags},
};

impl PluginHostSpec {
    /// Checks the declaration, all plugins included.
    ///
    /// # Errors
    /// All mistakes at once, each naming its field (rule S-6).
    pub fn validate(&self) -> Result<(), SpecErrors> {
        let mut errors = Vec::new();
        if self.start_concurrency == 0 {
            let problem = "must not be zero: nothing would ever start".into();
            errors.push(SpecError { field: "start_concurrency".into(), problem });
        }
        if self.max_timeout == Some(std::time::Duration::ZERO) {
            errors.push(SpecError { field: "max_timeout".into(), problem: "must not be zero".into() });
        }
        check_all(&self.plugins, &self.flags(), self.intensity.is_some(), &mut errors);
        SpecErrors::check(errors)
    }
}

impl PluginSpec {
    /// Checks the declaration.
    ///
    /// # Errors
    /// All mistakes at once, each naming its field (rule S-6).
    pub fn validate(&self) -> Result<(), SpecErrors> {
        let mut errors = Vec::new();
        check_all(std::slice::from_ref(self), &Default::default(), false, &mut errors);
        SpecErrors::check(errors)
    }

    /// The mistakes that the check of the policy does not find.
    pub(crate) fn check(&self, errors: &mut Vec<SpecError>) {
        // The worker as it will be with its protocol, which is set in the plugin.
        let protocol = self.protocol.as_dyn();
        let mut worker = self.worker.clone();
        (worker.protocol, worker.explicit.protocol) = (protocol.clone(), true);
        worker.explicit.handler |= self.handler.is_some();
        if let Err(found) = worker.validate() {
            errors.extend(found.below(&format!("plugins[{}]", self.id)));
        }
        let mut add = |field: &str, problem: &str| {
            errors.push(SpecError {
                field: format!("plugins[{}].{field}", self.id),
                problem: problem.to_owned(),
            });
        };
        if let PluginProtocol::Plugin(plugin) = &self.protocol
            && plugin.api_version.is_empty()
        {
            add("api_version", "must not be empty");
        }
        if let PluginProtocol::Other(protocol) = &self.protocol {
            let problem =
                format!("belongs to the plugin protocol, but the plugin speaks `{}`", protocol.name());
            self.set.iter().for_each(|field| add(field, &problem));
        }
        let elsewhere = "has no effect in the worker's declaration: set it with `PluginSpec::";
        if self.worker.explicit.protocol {
            add("worker.protocol", &format!("{elsewhere}protocol`"));
        }
        if self.worker.explicit.handler {
            add("worker.handler", &format!("{elsewhere}handler`"));
        }
        if self.capabilities.is_some() && !protocol.stdio_use().is_rpc() {
            add("capabilities", &format!("has no effect: the protocol `{}` has no channel", protocol.name()));
        }
        if self.capabilities.as_ref().is_some_and(|names| names.contains("")) {
            add("capabilities", "must not contain an empty name");
        }
    }
}

/// All mistakes of these plugins.
pub(crate) fn check_all(
    plugins: &[PluginSpec],
    flags: &SupervisorFlags,
    shared: bool,
    errors: &mut Vec<SpecError>,
) {
    let policies: Vec<ChildPolicy> = plugins.iter().map(|spec| policy(spec, shared)).collect();
    if let Err(found) = flags.validate(plugins.iter().map(|spec| spec.id.as_str()).zip(&policies)) {
        errors.extend(found.iter().map(|error| SpecError {
            field: match error.field.strip_prefix("children[") {
                Some(rest) => format!("plugins[{rest}"),
                None if error.field == "max_children" => "max_plugins".into(),
                None => error.field.clone(),
            },
            problem: error.problem.clone(),
        }));
    }
    for spec in plugins {
        spec.check(errors);
    }
}

/// The policy of a plugin that is started in the background, or on demand if it is declared so.
pub(crate) fn policy(spec: &PluginSpec, shared: bool) -> ChildPolicy {
    ChildPolicy {
        restart: restart_policy(spec, shared),
        start: if spec.is_on_demand() { StartMode::OnDemand } else { StartMode::Background },
        overlap: spec.overlaps(),
        standby: spec.standby,
        ..spec.worker.policy()
    }
}

/// The restart policy of a plugin, given whether the host's intensity counts its restarts (rule R-0 (5)).
fn restart_policy(spec: &PluginSpec, shared: bool) -> RestartPolicy {
    let mut policy = spec.worker.restart.clone();
    if policy.restart == RestartType::Permanent {
        // Like permanent, but a plugin that an operator has stopped does not return with the host (rule
        // G-16).
        policy.restart = RestartType::UnlessStopped;
    }
    if !shared {
        policy.use_own_budget(CrashLoop::default());
    }
    policy
}
