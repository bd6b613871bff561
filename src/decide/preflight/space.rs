//! Room for a deploy, before it needs it: a full `/boot` can otherwise end as success (nixpkgs#189966).

use crate::decide::answer::Code;
use crate::decide::outcome::Stop;

/// What a file system has left for an account that is not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    pub bytes: u64,
    /// `None`: it does not count them (btrfs, vfat).
    pub inodes: Option<u64>,
}

/// What has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// What the candidate will write.
    pub candidate: u64,
    /// What has to be left then, by configuration.
    pub left: u64,
    pub inodes: u64,
    /// The key of the configuration that says so.
    pub key: &'static str,
}

/// Refuses with the numbers, and with what makes room.
pub fn enough(place: &str, free: Free, need: Need) -> Result<(), Stop> {
    let refuse = |what: String| {
        let next = match need.key {
            "space.boot" => {
                "on the host: fewer boot entries (boot.loader.*.configurationLimit), older generations deleted"
            }
            "space.state" => "on the host: see what fills it; nixgate keeps 50 jobs and 1 GiB of logs there",
            _ => "on the host: nix-collect-garbage --delete-older-than 30d",
        };
        Err(Stop::new(Code::CheckRefused, format_args!("{place} is too full: {what}; {next}")))
    };
    if free.bytes < need.candidate.saturating_add(need.left) {
        let candidate = match need.candidate {
            0 => String::new(),
            bytes => format!("{} for the candidate's kernel and initrd and ", size(bytes)),
        };
        let (have, left, key) = (size(free.bytes), size(need.left), need.key);
        return refuse(format!("{have} free, needed are {candidate}{left} ({key})"));
    }
    match free.inodes {
        Some(inodes) if inodes < need.inodes => {
            refuse(format!("{inodes} inodes free, needed are {} (space.inodes)", need.inodes))
        }
        _ => Ok(()),
    }
}

/// In the largest unit that leaves a whole number above nothing, one digit after the point.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        None => format!("{bytes} bytes"),
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need { candidate: 0, left: 1 << 30, inodes: 100, key: "space.store" };

    #[test]
    fn a_refusal_has_the_numbers_and_the_key() {
        let free = |bytes, inodes| Free { bytes, inodes };
        assert_eq!(enough("/nix/store", free(1 << 30, Some(100)), NEED), Ok(()));
        assert_eq!(enough("/nix/store", free(1 << 30, None), NEED), Ok(()));
        let why = |free, need| enough("/x", free, need).unwrap_err().why;
        assert!(
            why(free((1 << 30) - 1, None), NEED)
                .contains("1023.9 MiB free, needed are 1.0 GiB (space.store)")
        );
        assert!(why(free(1 << 30, Some(99)), NEED).contains("99 inodes free, needed are 100 (space.inodes)"));
        let boot = Need { candidate: 3 << 20, left: 1 << 20, inodes: 0, key: "space.boot" };
        assert_eq!(enough("/boot", free(4 << 20, None), boot), Ok(()));
        let said = why(free((4 << 20) - 1, None), boot);
        assert!(
            said.contains("3.0 MiB for the candidate's kernel and initrd and 1.0 MiB (space.boot)"),
            "{said}"
        );
        assert!(enough("/boot", free(u64::MAX, None), Need { candidate: u64::MAX, ..boot }).is_ok());
    }
}
