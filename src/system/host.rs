//! Processors and memory, and the share of them that this process has. By sysinfo, which reads `/proc` on Linux.

use std::fmt;

use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System, get_current_pid,
};

use crate::run::system_sample::SystemSample;

/// The machine that this process is on.
pub struct Host {
    system: System,
    process: Option<Pid>,
}

/// What of its processors does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Such as `AMD EPYC 9B14`.
    pub model: Option<String>,
    /// Without hyperthreads.
    pub cores: Option<usize>,
    /// As many as can be at work at once.
    pub threads: usize,
}

/// What the system tells of it, such as `AMD EPYC 9B14, 8 cores, 16 threads`.
impl fmt::Display for Cpu {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let threads = Some(self.threads).filter(|_| self.cores != Some(self.threads));
        let parts = [
            self.model.clone(),
            self.cores.map(|cores| counted(cores, "core")),
            threads.map(|threads| counted(threads, "thread")),
        ];
        formatter.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Host {
    /// Rates are known from the first look on. None: the system tells nothing.
    pub fn open() -> Option<Self> {
        let mut host = Self { system: System::new().ok()?, process: get_current_pid().ok() };
        host.refresh();
        Some(host)
    }

    /// The rates are of the time since the last look, or since the beginning.
    pub fn look(&mut self) -> SystemSample {
        self.refresh();
        let process = self.process.and_then(|process| self.system.process(process));
        let total_bytes = Some(self.system.total_memory()).filter(|&bytes| bytes > 0);
        SystemSample {
            resident_bytes: process.map(|process| process.memory()).filter(|&bytes| bytes > 0),
            trainer_cpu_percent: process.map(|process| process.cpu_usage().into()),
            cpu_percent: (!self.system.cpus().is_empty()).then(|| self.system.global_cpu_usage().into()),
            memory_used_bytes: total_bytes.map(|_| self.system.used_memory()),
            memory_total_bytes: total_bytes,
            ..SystemSample::default()
        }
    }

    /// None: the system does not tell.
    pub fn cpu() -> Option<Cpu> {
        let cpu = CpuRefreshKind::nothing().with_frequency();
        let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(cpu)).ok()?;
        let first = system.cpus().first()?;
        let model = Some(first.brand().trim().to_owned()).filter(|model| !model.is_empty());
        Some(Cpu { model, cores: System::physical_core_count().ok(), threads: system.cpus().len() })
    }

    fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        if let Some(process) = self.process {
            let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
            self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process]), false, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_tell_of_a_processor_is_left_out() {
        let cpu =
            |model: Option<&str>, cores, threads| Cpu { model: model.map(str::to_owned), cores, threads }.to_string();
        assert_eq!(cpu(Some("AMD EPYC 9B14"), Some(8), 16), "AMD EPYC 9B14, 8 cores, 16 threads");
        assert_eq!(cpu(Some("AMD EPYC 9B14"), Some(1), 1), "AMD EPYC 9B14, 1 core");
        assert_eq!(cpu(None, None, 2), "2 threads");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_look_knows_all_but_disk_and_card() {
        let mut host = Host::open().unwrap();
        std::thread::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL);
        let sample = host.look();
        assert!((1 << 20..1 << 40).contains(&sample.resident_bytes.unwrap()), "{sample:?}");
        assert!((0.0..=100.0).contains(&sample.cpu_percent.unwrap()), "{sample:?}");
        assert!(sample.trainer_cpu_percent.is_some());
        assert!(sample.memory_used_bytes.unwrap() < sample.memory_total_bytes.unwrap(), "{sample:?}");
        assert_eq!((sample.disk_free_bytes, sample.card), (None, None));
        assert!(Host::cpu().unwrap().threads > 0);
    }
}
