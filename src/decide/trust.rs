//! What a commit object says, read by ourselves: `git verify-commit` fails open in four ways.

use super::value::Commit;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Why a commit is not taken. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error(
        "the bytes of commit {0} do not hash to its id; the repository here is damaged or was tampered with: remove /var/lib/nixgate/repo.git and fetch again"
    )]
    WrongBytes(String),
    #[error(
        "what the branch names is no commit as git writes one; put a commit there, not a tag (if it is one, on the host: rm -r /var/lib/nixgate/repo.git)"
    )]
    Form,
    #[error(
        "the commit is not signed; sign it with an ssh key that stands in /etc/nixgate/allowed_signers (git commit -S, gpg.format ssh)"
    )]
    Unsigned,
    #[error(
        "the commit carries more than one signature, or one for another kind of repository; sign it once"
    )]
    SeveralSignatures,
    #[error(
        "the commit is signed with PGP, as forges do for merges in the browser; promote it with nixgate-promote, or sign it with an ssh key (docs/signing.md)"
    )]
    Pgp,
    #[error("the commit is signed with X.509; sign it with an ssh key instead (docs/signing.md)")]
    X509,
    #[error("the signature is of a kind that nixgate does not know; sign with an ssh key")]
    UnknownKind,
    #[error("the commit's date is {0} s in the future of this host's clock; set the clock that is wrong")]
    FromTheFuture(u64),
    #[error(
        "the commit is {0} days old, which is more than trust.max-commit-age; put a new signed commit on the branch (git commit --allow-empty -S), or see why the forge shows an old one"
    )]
    TooOld(u64),
}

/// A commit taken apart: what was signed, and the signature over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// What `git cat-file --batch` says of these commits: `ID commit LENGTH`, the bytes and a newline, for each. `None`
/// where it says anything else.
pub fn batch(said: &[u8], commits: &[Commit]) -> Option<Vec<Vec<u8>>> {
    let mut rest = said;
    let mut objects = Vec::with_capacity(commits.len());
    for commit in commits {
        let (head, more) = rest.split_at(rest.iter().position(|b| *b == b'\n')?);
        let head = std::str::from_utf8(head).ok()?;
        let length: usize = head.strip_prefix(commit.as_str())?.strip_prefix(" commit ")?.parse().ok()?;
        let (object, more) = more.strip_prefix(b"\n")?.split_at_checked(length)?;
        objects.push(object.to_vec());
        rest = more.strip_prefix(b"\n")?;
    }
    rest.is_empty().then_some(objects)
}

/// Whether the bytes of a commit object hash to its id: 40 digits are SHA-1, 64 are SHA-256.
pub fn hashes_to(raw: &[u8], id: &str) -> bool {
    let header = format!("commit {}\0", raw.len());
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digest = match id.len() {
        40 => {
            // With detection of the known collision attacks, as git has it.
            let mut hasher = sha1_checked::Sha1::new();
            hasher.update(header.as_bytes());
            hasher.update(raw);
            let result = hasher.try_finalize();
            if result.has_collision() {
                return false;
            }
            hex(result.hash())
        }
        64 => hex(&Sha256::new().chain_update(header.as_bytes()).chain_update(raw).finalize()),
        _ => return false,
    };
    digest == id
}

/// Takes a commit apart. Exactly one header with the name that git gives a signature in a repository of this kind of
/// id (40 digits: `gpgsig`, 64: `gpgsig-sha256`), and no other that begins like it.
pub fn split(raw: &[u8], id: &str) -> Result<Signed, Untrusted> {
    let name: &[u8] = if id.len() == 64 { b"gpgsig-sha256 " } else { b"gpgsig " };
    let end = raw.windows(2).position(|pair| pair == b"\n\n").ok_or(Untrusted::Form)?;
    let (header, body) = raw.split_at(end + 1);
    let mut payload = Vec::with_capacity(raw.len());
    let mut signature: Option<Vec<u8>> = None;
    let mut inside = false;
    for line in header.split_inclusive(|b| *b == b'\n') {
        if let Some(more) = line.strip_prefix(b" ") {
            match &mut signature {
                Some(signature) if inside => signature.extend_from_slice(more),
                _ => payload.extend_from_slice(line),
            }
            continue;
        }
        inside = line.starts_with(b"gpgsig");
        if !inside {
            payload.extend_from_slice(line);
            continue;
        }
        if signature.is_some() {
            return Err(Untrusted::SeveralSignatures);
        }
        signature = Some(line.strip_prefix(name).ok_or(Untrusted::SeveralSignatures)?.to_vec());
    }
    payload.extend_from_slice(body);
    let signature = signature.ok_or(Untrusted::Unsigned)?;
    kind(&signature)?;
    Ok(Signed { payload, signature })
}

/// When a commit was made, as it says itself: seconds since 1970.
pub fn committed(raw: &[u8]) -> Result<i64, Untrusted> {
    let mut header = raw.split(|b| *b == b'\n').take_while(|line| !line.is_empty());
    let committer = header.find_map(|line| line.strip_prefix(b"committer "));
    committer.and_then(date).ok_or(Untrusted::Form)
}

/// `Name <address> SECONDS ZONE`: the seconds.
fn date(committer: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(committer);
    text.trim_end().rsplit(' ').nth(1)?.parse().ok()
}

fn kind(signature: &[u8]) -> Result<(), Untrusted> {
    let begins = |text: &str| signature.starts_with(text.as_bytes());
    if begins("-----BEGIN SSH SIGNATURE-----") {
        Ok(())
    } else if begins("-----BEGIN PGP") {
        Err(Untrusted::Pgp)
    } else if begins("-----BEGIN SIGNED MESSAGE-----") {
        Err(Untrusted::X509)
    } else {
        Err(Untrusted::UnknownKind)
    }
}

/// How far ahead of this host's clock a commit may be dated.
pub const SKEW_SECONDS: u64 = 300;

/// A commit from the future says that one of two clocks is wrong, and every age would be.
pub fn not_from_the_future(committed: i64, now: u64) -> Result<(), Untrusted> {
    match u64::try_from(committed).unwrap_or(0).checked_sub(now) {
        Some(ahead) if ahead > SKEW_SECONDS => Err(Untrusted::FromTheFuture(ahead)),
        _ => Ok(()),
    }
}

/// Signatures say nothing about time: who withholds what is new is seen by the age of what is shown.
pub fn not_too_old(committed: i64, now: u64, limit: Duration) -> Result<(), Untrusted> {
    let age = now.saturating_sub(u64::try_from(committed).unwrap_or(0));
    if age > limit.as_secs() { Err(Untrusted::TooOld(age / 86_400)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1: &str = "0123456789012345678901234567890123456789";
    const SHA256: &str = "0123456789012345678901234567890123456789012345678901234567890123";
    const SIGNATURE: &str = "-----BEGIN SSH SIGNATURE-----\n U1NI\n -----END SSH SIGNATURE-----\n";

    fn commit(headers: &str) -> Vec<u8> {
        format!(
            "tree 0\nauthor A <a> 1 +0000\ncommitter A <a> 1700000000 +0000\n{headers}\nmessage\n\nmore\n"
        )
        .into_bytes()
    }

    #[test]
    fn what_was_signed_is_the_commit_without_its_signature_byte_for_byte() {
        for (name, id) in [("gpgsig", SHA1), ("gpgsig-sha256", SHA256)] {
            let signed = split(&commit(&format!("{name} {SIGNATURE}encoding x\n")), id).unwrap();
            assert_eq!(signed.payload, commit("encoding x\n"));
            assert_eq!(signed.signature, SIGNATURE.replace("\n ", "\n").into_bytes());
        }
    }

    #[test]
    fn a_merge_tag_and_its_own_signature_belong_to_what_was_signed() {
        let tag = "mergetag object 0\n type commit\n -----BEGIN PGP SIGNATURE-----\n";
        let signed = split(&commit(&format!("{tag}gpgsig {SIGNATURE}")), SHA1).unwrap();
        assert_eq!(signed.payload, commit(tag));
    }

    #[test]
    fn each_wrong_signature_is_refused_by_name() {
        let refused = |headers: String| split(&commit(&headers), SHA1).unwrap_err();
        assert_eq!(refused(String::new()), Untrusted::Unsigned);
        assert_eq!(refused(format!("gpgsig {SIGNATURE}gpgsig {SIGNATURE}")), Untrusted::SeveralSignatures);
        assert_eq!(
            refused(format!("gpgsig {SIGNATURE}gpgsig-sha256 {SIGNATURE}")),
            Untrusted::SeveralSignatures
        );
        assert_eq!(refused(format!("gpgsig-sha256 {SIGNATURE}")), Untrusted::SeveralSignatures);
        let other = split(&commit(&format!("gpgsig {SIGNATURE}")), SHA256);
        assert_eq!(other, Err(Untrusted::SeveralSignatures), "the name of the other kind of repository");
        assert_eq!(refused("gpgsig -----BEGIN PGP SIGNATURE-----\n".into()), Untrusted::Pgp);
        assert_eq!(refused("gpgsig -----BEGIN SIGNED MESSAGE-----\n".into()), Untrusted::X509);
        assert_eq!(refused("gpgsig x\n".into()), Untrusted::UnknownKind);
        assert_eq!(split(b"tree 0", SHA1), Err(Untrusted::Form));
    }

    #[test]
    fn a_signature_in_the_message_is_no_signature() {
        let raw = format!("tree 0\ncommitter A <a> 1 +0000\n\ngpgsig {SIGNATURE}").into_bytes();
        assert_eq!(split(&raw, SHA1), Err(Untrusted::Unsigned));
    }

    #[test]
    fn bytes_that_are_not_the_commit_are_seen() {
        // printf 'x' | git hash-object -t commit --literally --stdin
        assert!(!hashes_to(b"x", &"0".repeat(40)));
        let empty = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
        let id = {
            let mut hasher = sha1_checked::Sha1::new();
            hasher.update(b"commit 46\0");
            hasher.update(empty);
            hasher.finalize().iter().map(|b| format!("{b:02x}")).collect::<String>()
        };
        assert!(hashes_to(empty, &id) && !hashes_to(b"tree", &id));
    }

    #[test]
    fn objects_are_taken_only_as_they_were_asked_for() {
        let ids = [SHA1, &"f".repeat(40)].map(|id| Commit::parse(id).unwrap());
        let said = format!("{} commit 3\na\nb\n{} commit 0\n\n", ids[0], ids[1]);
        assert_eq!(batch(said.as_bytes(), &ids), Some(vec![b"a\nb".to_vec(), Vec::new()]));
        let id = std::slice::from_ref(&ids[0]);
        for bad in ["missing", "tag 1\na", "commit 9\na", "commit 1\nab", "commit -1\na", "commit 1\na\nmore"]
        {
            assert_eq!(batch(format!("{SHA1} {bad}\n").as_bytes(), id), None, "{bad}");
        }
        let (truncated, _) = said.split_at(said.len() - 1);
        assert_eq!(batch(truncated.as_bytes(), &ids), None);
        let [first, second] = ids;
        assert_eq!(batch(said.as_bytes(), &[second, first]), None, "in another order");
    }

    #[test]
    fn the_date_is_the_committers_and_not_one_in_the_message() {
        assert_eq!(committed(&commit("")), Ok(1_700_000_000));
        assert_eq!(committed(b"tree 0\n\ncommitter A <a> 1 +0000\n"), Err(Untrusted::Form));
        assert_eq!(committed(b"committer A <a> soon +0000\n\n"), Err(Untrusted::Form));
    }

    #[test]
    fn what_is_older_than_the_limit_is_refused_with_its_age() {
        let day = 86_400;
        let limit = Duration::from_secs(90 * day);
        assert_eq!(not_too_old(0, 90 * day, limit), Ok(()));
        assert_eq!(not_too_old(0, 91 * day, limit), Err(Untrusted::TooOld(91)));
        assert_eq!(not_too_old(-5, 91 * day, limit), Err(Untrusted::TooOld(91)));
        assert_eq!(not_too_old(1_000, 0, limit), Ok(()));
    }

    #[test]
    fn a_date_in_the_future_is_refused_and_a_little_skew_is_not() {
        assert_eq!(not_from_the_future(1_000, 900), Ok(()));
        assert_eq!(not_from_the_future(2_000, 900), Err(Untrusted::FromTheFuture(1_100)));
    }
}
