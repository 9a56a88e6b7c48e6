//! How much memory this process may take: the least of what the machine has, its control groups allow (containers, batch
//! systems) and its own limits (`ulimit -v`, `-d`). An allocation that fails ends a process, so work is planned within it.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that may be taken, and what bounds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub bytes: u64,
    pub bound: &'static str,
}

const MACHINE: &str = "the machine's memory";
const GROUP: &str = "the memory limit of the control group";
const ADDRESSES: &str = "the limit of address space (ulimit -v)";
const DATA: &str = "the limit of data (ulimit -d)";
/// Addresses that the C library's allocator takes for each thread that asks for memory, before it is used.
const ARENA: u64 = 64 << 20;
/// Threads beside those that compute.
const OTHERS: u64 = 3;
/// Without a limit version 1 of control groups says nearly 2^63.
const UNLIMITED: u64 = 1 << 62;

/// All that a process like this one may ever take; plans that another run has to repeat go by it. `None` where the system
/// does not say.
pub fn capacity() -> Option<u64> {
    let files = Files::read();
    let addresses = files.limit("address space").map(|limit| limit.saturating_sub(arenas()));
    let bounds =
        [files.meminfo("MemTotal"), files.group().map(|group| group.limit), addresses, files.limit("data size")];
    bounds.into_iter().flatten().min()
}

/// Addresses that are gone before anything is in them.
fn arenas() -> u64 {
    ARENA * (rayon::current_num_threads() as u64 + OTHERS)
}

/// What may be taken now, besides what is taken already.
pub fn room() -> Option<Room> {
    let files = Files::read();
    let machine = files.meminfo("MemAvailable").map(|free| free + files.meminfo("SwapFree").unwrap_or(0));
    let left = |limit: Option<u64>, used: &str| Some(limit?.saturating_sub(files.status(used)?));
    [
        (machine, MACHINE),
        (files.group().map(|group| group.limit.saturating_sub(group.used)), GROUP),
        (left(files.limit("address space"), "VmSize").map(|left| left.saturating_sub(arenas())), ADDRESSES),
        (left(files.limit("data size"), "VmData"), DATA),
    ]
    .into_iter()
    .filter_map(|(bytes, bound)| Some(Room { bytes: bytes?, bound }))
    .min_by_key(|room| room.bytes)
}

/// [`Error::OutOfMemory`] where `what` needs more than there is room for; `hint` says what to do.
pub fn check(what: &str, needed: u64, hint: &str) -> Result<()> {
    match room() {
        Some(room) if needed > room.bytes => Err(refusal(what, needed, room, hint)),
        _ => Ok(()),
    }
}

/// Says what is needed, what there is and what bounds it.
pub fn refusal(what: &str, needed: u64, room: Room, hint: &str) -> Error {
    Error::OutOfMemory(format!(
        "{what} needs about {} MiB, and {} leaves {} MiB: {hint}",
        needed.div_ceil(1 << 20),
        room.bound,
        room.bytes >> 20
    ))
}

struct Group {
    limit: u64,
    /// Without the files that the system would drop.
    used: u64,
}

/// What Linux says of memory; empty elsewhere.
#[derive(Default)]
struct Files {
    meminfo: String,
    status: String,
    limits: String,
    groups: Vec<(u64, u64)>,
}

impl Files {
    fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Files {
            meminfo: text("/proc/meminfo"),
            status: text("/proc/self/status"),
            limits: text("/proc/self/limits"),
            groups: groups(&text("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")),
        }
    }

    fn meminfo(&self, key: &str) -> Option<u64> {
        kilobytes(&self.meminfo, key)
    }

    fn status(&self, key: &str) -> Option<u64> {
        kilobytes(&self.status, key)
    }

    /// A soft limit; `None` for none.
    fn limit(&self, name: &str) -> Option<u64> {
        let line = self.limits.lines().find_map(|line| line.strip_prefix("Max ")?.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// The group that leaves least.
    fn group(&self) -> Option<Group> {
        let least = self.groups.iter().min_by_key(|(limit, used)| limit.saturating_sub(*used))?;
        Some(Group { limit: least.0, used: least.1 })
    }
}

/// The number behind `key:` of a text as /proc has them, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Limit and use of each control group with a limit that this process is in, `own` being /proc/self/cgroup: its own and those
/// above it, of version 2 (`0::/path`) and 1 (`N:memory:/path`).
fn groups(own: &str, root: &Path) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, [limit, used, idle]) = if kinds.is_empty() {
            (root.to_path_buf(), ["memory.max", "memory.current", "inactive_file "])
        } else if kinds.split(',').any(|kind| kind == "memory") {
            (root.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "])
        } else {
            continue;
        };
        // A container may see its own group as the root, whatever its path is outside.
        for folder in root.join(path.trim_start_matches('/')).ancestors().take_while(|at| at.starts_with(&root)) {
            let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            let (Some(limit), Some(used)) = (number(limit).filter(|&limit| limit < UNLIMITED), number(used)) else {
                continue;
            };
            let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse().ok()).unwrap_or(0);
            found.push((limit, used.saturating_sub(idle)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_groups_are_read() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("a/memory.max", "1000\n");
        put("a/memory.current", "700\n");
        put("a/memory.stat", "anon 400\ninactive_file 300\n");
        put("a/b/memory.max", "max\n");
        put("a/b/memory.current", "10\n");
        put("memory/x/memory.limit_in_bytes", "5000");
        put("memory/x/memory.usage_in_bytes", "4000");
        put("memory/memory.limit_in_bytes", "9223372036854771712");
        put("memory/memory.usage_in_bytes", "9");
        assert_eq!(groups("0::/a/b\n", root.path()), [(1000, 400)]);
        assert_eq!(groups("5:cpu:/x\n4:hugetlb,memory:/x\n0::/nowhere\n", root.path()), [(5000, 4000)]);
        assert_eq!(groups("4:memory:/\n\nnonsense\n", root.path()), []);

        let limits = "Limit      Soft Limit   Hard Limit   Units\nMax data size    unlimited  unlimited  bytes\n\
                      Max address space         300       unlimited            bytes\n";
        let status = "VmPeak:\t 9 kB\nVmSize:\t       2 kB\n";
        let files = Files {
            meminfo: "MemTotal:  10 kB\nMemAvailable: 8 kB\n".into(),
            status: status.into(),
            limits: limits.into(),
            groups: vec![(1000, 400), (5000, 4900)],
        };
        assert_eq!((files.limit("address space"), files.limit("data size")), (Some(300), None));
        assert_eq!((files.meminfo("MemTotal"), files.status("VmSize")), (Some(10_240), Some(2048)));
        assert_eq!(files.group().map(|group| group.limit), Some(5000));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_figures() {
        check("nothing", 1, "go on").unwrap();
        let refused = refusal("a pass", 3 << 20, Room { bytes: 2 << 20, bound: GROUP }, "take smaller slices");
        assert_eq!(
            refused.to_string(),
            "a pass needs about 3 MiB, and the memory limit of the control group leaves 2 MiB: take smaller slices"
        );
    }
}
