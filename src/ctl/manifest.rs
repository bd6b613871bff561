//! `manifest`: for CI, which signs what a host may run; and for people, who want to know what somebody signed. It needs
//! neither a configuration nor a host, only ssh-keygen.

use super::{CtlError, print};
use crate::act::clock;
use crate::act::keys::{self, ALLOWED_SIGNERS, Namespace, REVOKED};
use crate::decide::answer::Code;
use crate::decide::manifest::{self, Manifest};
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::value::{Commit, Name, StorePath};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

#[derive(Debug, clap::Subcommand)]
pub enum Words {
    /// Write and sign the manifest of one host: what it may run, and until when.
    #[command(after_help = "Examples:\n  \
        nixgatectl manifest sign --host web1 --path \"$(readlink -f result)\" \\\n    \
          --commit \"$(git rev-parse HEAD)\" --valid-for 7d --key manifest-key\n  \
        nixgatectl manifest sign --host web1 --path /nix/store/...-nixos-system-web1-26.05 \\\n    \
          --commit 0123456789abcdef0123456789abcdef01234567 --sequence 42 \\\n    \
          --not-after 2026-12-31T00:00:00Z --key ~/.ssh/id_ed25519.pub --output nixgate\n\n\
        It writes DIR/HOST.manifest and DIR/HOST.manifest.sig; commit both to the branch, as nixgate/HOST.manifest and\n\
        nixgate/HOST.manifest.sig. The path has to be in the cache, signed, before the manifest is pushed.\n\
        A host takes no manifest with a lower sequence than the last one that it made permanent.")]
    Sign(Sign),
    /// Say what a manifest allows, who signed it, and whether it is still good.
    #[command(after_help = "Examples:\n  nixgatectl manifest verify nixgate/web1.manifest\n  \
        nixgatectl manifest verify nixgate/web1.manifest --signers allowed_signers --revoked /dev/null\n\n\
        Exit 0: well signed, and good now. 11: not signed by a key of that list, unreadable or past its time.")]
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
pub struct Sign {
    /// The host, as its source.system names it.
    #[arg(long, value_parser = Name::parse)]
    host: Name,
    /// The system: the store path of config.system.build.toplevel.
    #[arg(long, value_parser = StorePath::parse)]
    path: StorePath,
    /// The commit that it was built at, 40 or 64 lower-case hex digits in full.
    #[arg(long, value_parser = Commit::parse)]
    commit: Commit,
    /// Where it stands among the manifests of this host [default: the seconds since 1970].
    #[arg(long, value_name = "NUMBER", value_parser = sequence)]
    sequence: Option<u64>,
    /// Until when it may be deployed, as in 2026-12-31T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = manifest::time, required_unless_present = "valid_for")]
    not_after: Option<SystemTime>,
    /// The same from now on, as in 7d or 36h.
    #[arg(long, value_name = "TIME", value_parser = manifest::validity, conflicts_with = "not_after")]
    valid_for: Option<Duration>,
    /// An ssh key: its file, or the public one of a key that the agent holds.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The directory to write to.
    #[arg(long, value_name = "DIR", default_value = "nixgate")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The manifest; its signature lies beside it, with .sig behind its name.
    file: PathBuf,
    /// Who may sign.
    #[arg(long, value_name = "FILE", default_value = ALLOWED_SIGNERS)]
    signers: PathBuf,
    /// Keys that may no longer.
    #[arg(long, value_name = "FILE", default_value = REVOKED)]
    revoked: PathBuf,
}

pub fn sequence(text: &str) -> Result<u64, &'static str> {
    manifest::sequence(text.parse().unwrap_or(0))
}

pub fn run(words: &Words) -> Result<Code, CtlError> {
    match words {
        Words::Sign(how) => print(&sign(how)?),
        Words::Verify(what) => {
            let (code, text) = verify(what)?;
            print(&text)?;
            Ok(code)
        }
    }
}

/// Makes both files; what is said of them.
fn sign(how: &Sign) -> Result<String, CtlError> {
    let now = SystemTime::now();
    let until = how.not_after.or_else(|| how.valid_for.and_then(|time| now.checked_add(time)));
    // The parser has asked for one of both.
    let not_after = until.ok_or_else(|| Stop::new(Code::Malformed, "say --not-after or --valid-for"))?;
    if not_after <= now {
        let why = format!("{} is past, so no host would take it", manifest::written(not_after));
        return Err(Stop::new(Code::Malformed, why).into());
    }
    // A CI has no memory: time goes up by itself.
    let sequence = how.sequence.unwrap_or_else(clock::wall_seconds);
    let (host, path, commit) = (how.host.clone(), how.path.clone(), how.commit.clone());
    let text = Manifest { host, path, commit, sequence, not_after }.render().or_stop(Code::Internal)?;
    let signature = signature(&how.key, text.as_bytes())?;
    let file = how.output.join(format!("{}.manifest", how.host));
    fs::create_dir_all(&how.output).map_err(|source| CtlError::Write { path: how.output.clone(), source })?;
    for (path, bytes) in [(&file, text.as_bytes()), (&beside(&file), &signature)] {
        fs::write(path, bytes).map_err(|source| CtlError::Write { path: path.clone(), source })?;
    }
    let (file, until) = (file.display(), manifest::written(not_after));
    Ok(format!(
        "{file} and {file}.sig: {} may run {} until {until}, sequence {sequence}\n",
        how.host, how.path
    ))
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn signature(key: &Path, text: &[u8]) -> Result<Vec<u8>, CtlError> {
    let key = key.to_string_lossy();
    let ended = ssh_keygen(&["-q", "-Y", "sign", "-n", Namespace::Manifest.as_str(), "-f", &key], text)?;
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    let why = format!(
        "ssh-keygen cannot sign with {key} (it says why above); name an ssh key, or its public half if an agent holds it"
    );
    Err(Stop::new(Code::Misconfigured, why).into())
}

/// With the caller's own environment: the agent and the way to ask for a passphrase are in it.
fn ssh_keygen(args: &[&str], input: &[u8]) -> Result<Output, CtlError> {
    let said = |source: io::Error| {
        Stop::new(Code::Misconfigured, format_args!("ssh-keygen: {source}; install OpenSSH's client"))
    };
    let mut command = Command::new("ssh-keygen");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(said)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input says so by its exit code.
        let _ = stdin.write_all(input);
    }
    Ok(child.wait_with_output().map_err(said)?)
}

/// The verdict, and what the manifest says.
fn verify(what: &Verify) -> Result<(Code, String), CtlError> {
    let read =
        |path: &Path| fs::read(path).map_err(|source| CtlError::Read { path: path.to_owned(), source });
    let (bytes, signature) = (read(&what.file)?, beside(&what.file));
    // Without its lists ssh-keygen would say no for the wrong reason, or yes without having looked.
    [&signature, &what.signers, &what.revoked].into_iter().try_for_each(|path| read(path).map(drop))?;
    let who = signer(what, &signature, &bytes)?;
    let manifest = Manifest::parse(&bytes).or_stop(Code::NotTrusted)?;
    let now = SystemTime::now();
    let good = manifest.not_after > now;
    let text = format!(
        "signed by  {who}\nhost       {}\npath       {}\ncommit     {}\nsequence   {}\nnot after  {}{}\n",
        manifest.host,
        manifest.path,
        manifest.commit,
        manifest.sequence,
        manifest::written(manifest.not_after),
        if good { "" } else { ", which is past" },
    );
    Ok((if good { Code::Done } else { Code::NotTrusted }, text))
}

/// The principal whose signature it is, by exit codes alone.
fn signer(what: &Verify, signature: &Path, bytes: &[u8]) -> Result<String, CtlError> {
    let (signers, revoked) = (what.signers.to_string_lossy(), what.revoked.to_string_lossy());
    let signature = signature.to_string_lossy();
    let found = ssh_keygen(&keys::find_principals(&signers, &signature), b"")?;
    let names = String::from_utf8_lossy(&found.stdout).into_owned();
    for who in names.lines().filter(|_| found.status.success()) {
        let args = keys::verify(Namespace::Manifest, &signers, who, &signature, &revoked);
        if ssh_keygen(&args, bytes)?.status.success() {
            return Ok(who.to_owned());
        }
    }
    let why = format!(
        "no key of {signers} that may sign manifests has signed this (unknown, revoked, expired, or other bytes)"
    );
    Err(Stop::new(Code::NotTrusted, why).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own; removed at its end.
    struct Directory(PathBuf);
    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nixgate-manifest-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
        /// A new key, and the line that lets it sign.
        fn key(&self, name: &str, namespaces: &str) -> PathBuf {
            let key = self.0.join(name);
            let mut command = Command::new("ssh-keygen");
            assert!(
                command
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                    .arg(&key)
                    .status()
                    .unwrap()
                    .success()
            );
            let public = fs::read_to_string(key.with_extension("pub")).unwrap();
            let mut list =
                fs::OpenOptions::new().create(true).append(true).open(self.0.join("signers")).unwrap();
            writeln!(list, "{name}@ci namespaces=\"{namespaces}\" {}", public.trim_end()).unwrap();
            fs::write(self.0.join("revoked"), "").unwrap();
            key
        }
        fn sign(&self, key: PathBuf) -> Result<String, CtlError> {
            sign(&Sign {
                host: Name::parse("web1").unwrap(),
                path: StorePath::parse(&format!("/nix/store/{}-nixos-system-web1", "0".repeat(32))).unwrap(),
                commit: Commit::parse(&"a".repeat(40)).unwrap(),
                sequence: None,
                not_after: None,
                valid_for: Some(Duration::from_secs(60)),
                key,
                output: self.0.clone(),
            })
        }
        fn file(&self) -> PathBuf {
            self.0.join("web1.manifest")
        }
        fn verify(&self) -> Code {
            let (signers, revoked) = (self.0.join("signers"), self.0.join("revoked"));
            let verified = verify(&Verify { file: self.file(), signers, revoked });
            verified.map_or_else(|error| error.code(), |(code, _)| code)
        }
    }
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_signed_is_verified_and_a_changed_byte_is_seen() {
        let here = Directory::new("sign");
        let key = here.key("ci", "nixgate-manifest");
        assert!(here.sign(key.clone()).unwrap().contains("web1 may run /nix/store/"));
        let manifest = Manifest::parse(&fs::read(here.file()).unwrap()).unwrap();
        assert!(manifest.sequence + 60 >= clock::wall_seconds(), "{}", manifest.sequence);
        assert_eq!(here.verify(), Code::Done);
        // Again, over the files that are there.
        here.sign(key).unwrap();
        assert_eq!(here.verify(), Code::Done);
        let text = fs::read_to_string(here.file()).unwrap();
        fs::write(here.file(), text.replace("web1", "web2")).unwrap();
        assert_eq!(here.verify(), Code::NotTrusted);
    }

    #[test]
    fn a_key_for_other_things_an_unknown_and_a_revoked_one_sign_no_manifest() {
        let here = Directory::new("refused");
        let [ci, git] = [here.key("ci", "nixgate-manifest"), here.key("git", "git")];
        here.sign(git).unwrap();
        assert_eq!(here.verify(), Code::NotTrusted);
        here.sign(ci.clone()).unwrap();
        assert_eq!(here.verify(), Code::Done);
        fs::copy(ci.with_extension("pub"), here.0.join("revoked")).unwrap();
        assert_eq!(here.verify(), Code::NotTrusted);
        fs::remove_file(here.0.join("revoked")).unwrap();
        assert_eq!(here.verify(), Code::Misconfigured, "a list that is missing is no empty list");
        assert!(here.sign(here.0.join("nothing")).is_err());
    }
}
