//! The memory of the process and of the system, as the files in `/proc` and of cgroups state it. Other systems than Linux
//! have no such files; then nothing is known.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory is scarce below this share of what the process may use.
const SCARCE_PERCENT: u64 = 10;
/// cgroup v1 states a number above this one if there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// The memory of this process in bytes that is in RAM; `None` if the system does not state it.
pub(crate) fn resident_bytes() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The memory in bytes that is in RAM of all processes of a group; 0 if the system does not state it.
#[cfg(feature = "llama-cpp")]
pub(crate) fn group_bytes(group: u32) -> u64 {
    System::default().group_bytes(group)
}

/// Whether less than a tenth of the memory that this process may use is free.
pub(crate) fn is_scarce() -> bool {
    System::default().is_scarce()
}

/// The folders with the files of the system. Tests use others.
struct System {
    proc: PathBuf,
    cgroup: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), cgroup: PathBuf::from("/sys/fs/cgroup") }
    }
}

/// A limit on memory, and how much of it can still be used, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    limit: u64,
    free: u64,
}

impl Room {
    fn is_scarce(self) -> bool {
        self.free < self.limit / 100 * SCARCE_PERCENT
    }
}

impl System {
    fn is_scarce(&self) -> bool {
        self.machine().into_iter().chain(self.cgroups()).any(Room::is_scarce)
    }

    #[cfg(feature = "llama-cpp")]
    fn group_bytes(&self, group: u32) -> u64 {
        let Ok(entries) = fs::read_dir(&self.proc) else { return 0 };
        let folders = entries.flatten().map(|entry| entry.path()).filter(|folder| group_of(folder) == Some(group));
        let resident = |folder: PathBuf| kibibytes(&fs::read_to_string(folder.join("status")).ok()?, "VmRSS:");
        folders.filter_map(resident).sum()
    }

    /// The memory of the machine. `MemAvailable` includes what the kernel can free.
    fn machine(&self) -> Option<Room> {
        let text = fs::read_to_string(self.proc.join("meminfo")).ok()?;
        Some(Room { limit: kibibytes(&text, "MemTotal:")?, free: kibibytes(&text, "MemAvailable:")? })
    }

    /// The limits of the cgroup of this process and of those above it.
    fn cgroups(&self) -> Vec<Room> {
        let text = fs::read_to_string(self.proc.join("self/cgroup")).unwrap_or_default();
        let of = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            match controllers {
                "" => Some((&VERSION_2, self.cgroup.clone(), path.to_owned())),
                list if list.split(',').any(|name| name == "memory") => {
                    Some((&VERSION_1, self.cgroup.join("memory"), path.to_owned()))
                }
                _ => None,
            }
        };
        text.lines().filter_map(of).flat_map(|(files, root, path)| files.rooms(&root, &path)).collect()
    }
}

/// The names of the files of a memory cgroup.
struct CgroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// The key of `memory.stat` with the bytes of the file cache that the kernel can free.
    inactive: &'static str,
}

const VERSION_1: CgroupFiles =
    CgroupFiles { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", inactive: "total_inactive_file" };
const VERSION_2: CgroupFiles = CgroupFiles { limit: "memory.max", usage: "memory.current", inactive: "inactive_file" };

impl CgroupFiles {
    /// The rooms of a cgroup and of those above it. In a container, the folder of the cgroup itself is often mounted as
    /// `root`, and its path does not exist below it.
    fn rooms(&self, root: &Path, path: &str) -> Vec<Room> {
        let named = root.join(path.trim_start_matches('/'));
        let folders = named.ancestors().take_while(|folder| folder.starts_with(root));
        folders.filter_map(|folder| self.room(folder)).collect()
    }

    fn room(&self, folder: &Path) -> Option<Room> {
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let (limit, usage) = (number(self.limit)?, number(self.usage)?);
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let inactive = stat.lines().find_map(|line| line.strip_prefix(self.inactive)?.trim().parse().ok());
        let used = usage.saturating_sub(inactive.unwrap_or(0));
        (limit < NO_LIMIT).then(|| Room { limit, free: limit.saturating_sub(used) })
    }
}

/// The group of a process, by its folder in `/proc`; `None` for other folders and for processes that have ended.
#[cfg(feature = "llama-cpp")]
fn group_of(folder: &Path) -> Option<u32> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The program's name in brackets may itself have brackets and spaces.
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// A value in KiB of a file like `/proc/meminfo`, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|value| value * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str = "MemTotal:       1000000 kB\nMemFree:           10 kB\nMemAvailable:    500000 kB\n";

    /// A system with the given files, by their paths below `proc` and `cgroup`.
    fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let system = System { proc: dir.path().join("proc"), cgroup: dir.path().join("cgroup") };
        (dir, system)
    }

    fn is_scarce(files: &[(&str, &str)]) -> bool {
        system(files).1.is_scarce()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(System::default().machine().is_some_and(|room| room.limit > room.free));
    }

    #[test]
    #[cfg(feature = "llama-cpp")]
    fn the_memory_of_a_group_is_that_of_its_processes() {
        let files = [
            ("proc/7/stat", "7 (a) b) S 1 7 7 0 -1"),
            ("proc/7/status", "Name:\ta) b\nVmRSS:\t     100 kB\n"),
            ("proc/8/stat", "8 (c) S 7 7 7 0 -1"),
            ("proc/8/status", "VmRSS:\t      20 kB\n"),
            // A process that has ended, and one of another group
            ("proc/9/stat", "9 (c) Z 7 7 7 0 -1"),
            ("proc/9/status", "Name:\tc\n"),
            ("proc/70/stat", "70 (c) S 7 70 7 0 -1"),
            ("proc/70/status", "VmRSS:\t       3 kB\n"),
            ("proc/meminfo", MEMORY),
        ];
        assert_eq!(system(&files).1.group_bytes(7), 120 << 10);
        assert_eq!(system(&[]).1.group_bytes(7), 0);
    }

    #[test]
    fn the_machine_limits_memory() {
        assert!(!is_scarce(&[]));
        assert!(!is_scarce(&[("proc/meminfo", MEMORY)]));
        assert!(is_scarce(&[("proc/meminfo", &MEMORY.replace(" 500000", " 99999"))]));
    }

    #[test]
    fn a_cgroup_of_version_2_limits_memory() {
        let of = |maximum: &str, current: &str, stat: &str| {
            is_scarce(&[
                ("proc/meminfo", MEMORY),
                ("proc/self/cgroup", "0::/a/b\n"),
                ("cgroup/a/b/memory.max", maximum),
                ("cgroup/a/b/memory.current", current),
                ("cgroup/a/b/memory.stat", stat),
            ])
        };
        assert!(of("1000000\n", "950000\n", "anon 1\ninactive_file 1\n"));
        assert!(!of("1000000\n", "950000\n", "anon 1\ninactive_file 60000\n"));
        assert!(!of("max\n", "950000\n", ""));
        assert!(!of("1000000\n", "850000\n", ""));
    }

    /// The process is in a cgroup without a limit, below one that has a limit.
    #[test]
    fn the_limits_above_a_cgroup_count() {
        let files = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cgroup/a/b/memory.max", "max\n"),
            ("cgroup/a/b/memory.current", "1\n"),
            ("cgroup/a/memory.max", "1000\n"),
            ("cgroup/a/memory.current", "990\n"),
        ];
        assert_eq!(system(&files).1.cgroups(), [Room { limit: 1000, free: 10 }]);
        assert!(is_scarce(&files));
    }

    #[test]
    fn a_cgroup_of_version_1_limits_memory() {
        let of = |path: &str, limit: &str, usage: &str| {
            let folder = format!("cgroup/memory{path}");
            is_scarce(&[
                ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/c\n"),
                (&format!("{folder}/memory.limit_in_bytes"), limit),
                (&format!("{folder}/memory.usage_in_bytes"), usage),
                (&format!("{folder}/memory.stat"), "inactive_file 900\ntotal_inactive_file 100\n"),
            ])
        };
        assert!(of("/docker/c", "1000\n", "1001\n"));
        assert!(!of("/docker/c", "1000\n", "1000\n"));
        assert!(!of("/docker/c", "9223372036854771712\n", "1001\n"));
        assert!(!of("/elsewhere", "1000\n", "1001\n"));
        // In a container without its own namespace of cgroups.
        assert!(of("", "1000\n", "1001\n"));
    }
}
