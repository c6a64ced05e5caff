//! How a process was started: by itself, or as one of several by an MPI launcher.

/// What the launcher tells in the environment, before MPI is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    pub rank: usize,
    /// Processes that it started.
    pub size: usize,
    /// Those of them on this host.
    pub local_size: usize,
}

/// The variables of a launcher: the rank, the number of ranks, and that of this host.
struct Launcher {
    rank: &'static str,
    size: &'static str,
    local_size: &'static str,
}

/// Open MPI's mpirun; MPICH's and Intel's; Slurm's srun. (A batch script has SLURM_NTASKS too, a step alone
/// SLURM_STEP_NUM_TASKS.)
const LAUNCHERS: [Launcher; 3] = [
    Launcher { rank: "OMPI_COMM_WORLD_RANK", size: "OMPI_COMM_WORLD_SIZE", local_size: "OMPI_COMM_WORLD_LOCAL_SIZE" },
    Launcher { rank: "PMI_RANK", size: "PMI_SIZE", local_size: "MPI_LOCALNRANKS" },
    Launcher { rank: "SLURM_PROCID", size: "SLURM_STEP_NUM_TASKS", local_size: "SLURM_STEP_TASKS_PER_NODE" },
];

impl Launch {
    /// None of a process that was started by itself.
    pub fn detect() -> Option<Self> {
        Self::of(|variable| std::env::var(variable).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| variable(name).and_then(|value| leading_number(&value));
        let of_launcher = |launcher: &Launcher| {
            let (rank, size) = (number(launcher.rank)?, number(launcher.size)?);
            let local_size = number(launcher.local_size).unwrap_or(1).clamp(1, size.max(1));
            (size > 1 && rank < size).then_some(Self { rank, size, local_size })
        };
        LAUNCHERS.iter().find_map(of_launcher)
    }

    /// Compute threads of this process: its part of the `available` cores, those that it may run on, of all that the host has. A
    /// launcher that has bound the process to some cores has parted them already, between sockets at least.
    pub fn threads(self, available: usize, of_host: usize) -> usize {
        let part =
            if available < of_host { available.min(of_host / self.local_size) } else { available / self.local_size };
        part.max(1)
    }
}

/// That of `2(x3),1`, as Slurm counts the tasks of each host, is the first's.
fn leading_number(value: &str) -> Option<usize> {
    value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<Launch> {
        Launch::of(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_launcher_is_known_by_its_variables() {
        let four = |local_size| Some(Launch { rank: 3, size: 4, local_size });
        let open_mpi =
            [("OMPI_COMM_WORLD_RANK", "3"), ("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "4")];
        assert_eq!(of(&open_mpi), four(4));
        assert_eq!(of(&[("PMI_RANK", "3"), ("PMI_SIZE", "4")]), four(1));
        let slurm = [("SLURM_PROCID", "3"), ("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_STEP_TASKS_PER_NODE", "2(x2)")];
        assert_eq!(of(&slurm), four(2));
    }

    #[test]
    fn a_batch_script_and_a_single_process_are_by_themselves() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")]), None);
        assert_eq!(of(&[("PMI_RANK", "x"), ("PMI_SIZE", "4")]), None);
    }

    #[test]
    fn the_ranks_of_a_host_divide_its_cores() {
        let launch = Launch { rank: 0, size: 8, local_size: 4 };
        let threads = |available, of_host| launch.threads(available, of_host);
        assert_eq!((threads(16, 16), threads(5, 5), threads(2, 2)), (4, 1, 1));
        // Bound to a core, to a socket that two ranks share, and to two cores of many.
        assert_eq!((threads(1, 16), threads(8, 16), threads(2, 64)), (1, 4, 2));
    }
}
