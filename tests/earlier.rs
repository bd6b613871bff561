//! What an earlier build of nixgate wrote, this one reads, and what this one writes, that one reads: a trial can end under
//! other programs than it began with. `golden/earlier` is `/var/lib/nixgate` of a host of that build (`commit`), in the middle of
//! a trial that waits for its confirmation, and after its end. `tests/upgrade` does the same with the programs themselves.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use nixgate::act::begun::Begun;
use nixgate::act::log::Reader;
use nixgate::act::store::Store;
use nixgate::decide::chain::{Chain, verify};
use nixgate::decide::record::{JobResult, Record};
use nixgate::decide::state::State;
use nixgate::decide::value::JobId;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A copy of what stands in `golden/earlier`, to be written to.
struct Earlier {
    root: PathBuf,
    store: Store,
    job: JobId,
}

impl Earlier {
    fn copy(moment: &str) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/earlier").join(moment);
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("nixgate-earlier-{number}-{}", std::process::id()));
        copy(&from, &root);
        let store = Store::new(&root);
        let [job] = store.jobs().unwrap().try_into().unwrap();
        Self { root, store, job }
    }
    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.root.join(path)).unwrap()).unwrap()
    }
    fn job_file(&self, name: &str) -> String {
        format!("jobs/{}/{name}", self.job)
    }
    fn record(&self) -> Record {
        self.store.record(&self.job).unwrap().unwrap()
    }
}

impl Drop for Earlier {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// All of a log, as a follower gets it.
fn log(path: &Path) -> String {
    let (mut reader, mut buffer, mut all) = (Reader::new(path), vec![0; 1000], Vec::new());
    loop {
        match reader.read(&mut buffer) {
            [] => return String::from_utf8(all).unwrap(),
            new => all.extend_from_slice(new),
        }
    }
}

#[test]
fn a_trial_that_an_earlier_build_began_can_be_followed_confirmed_and_recovered() {
    let earlier = Earlier::copy("trial");
    let (store, job) = (&earlier.store, &earlier.job);
    assert_eq!(store.state().unwrap().job.as_deref(), Some(job.as_str()));
    let record = earlier.record();
    assert_eq!((record.job.as_str(), record.state), (job.as_str(), State::Healthy));
    assert!(record.activated_at.is_some() && record.confirm_by.is_some(), "confirmable: {record:?}");
    assert!(record.old.is_some() && record.new.is_some(), "revertible: {record:?}");
    let said = log(&store.job_dir(job).join("log"));
    assert!(
        said.starts_with(&format!("nixgate: job {job}: switch by "))
            && said.contains("over a new connection")
    );

    // The job that runs awaits a file of this name, with who said it.
    let ended = Earlier::copy("ended");
    store.tell_job(job, "confirm", "somebody").unwrap();
    assert_eq!(fs::read_to_string(earlier.root.join(earlier.job_file("confirm"))).unwrap(), "somebody");
    let theirs = fs::read_to_string(ended.root.join(ended.job_file("confirm"))).unwrap();
    assert_eq!(theirs, ended.record().identity);

    // Recovery: one step more, written so that the earlier build can read it, and the audit log goes on.
    let before = earlier.json(&earlier.job_file("record"));
    let mut begun = Begun::resume(job.clone(), record);
    begun.enter(store, State::Confirmed).unwrap();
    let after = earlier.json(&earlier.job_file("record"));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((keys(&before), after["state"].as_str()), (keys(&after), Some("confirmed")));
    let audit = fs::read_to_string(earlier.root.join("audit/log.jsonl")).unwrap();
    assert_eq!(verify(&audit), Chain::Whole(store.audit_head().unwrap()));
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [.., theirs, ours] = lines.as_slice() else { panic!("{audit}") };
    assert_eq!((keys(theirs), ours["event"].as_str()), (keys(ours), Some("confirmed")));
}

#[test]
fn the_end_of_a_job_of_an_earlier_build_is_told_as_that_build_told_it() {
    let earlier = Earlier::copy("ended");
    let result: JobResult = earlier.store.result(&earlier.job).unwrap().unwrap();
    let head = earlier.store.audit_head().unwrap();
    assert_eq!(result.code, 0);
    assert!(result.line.ends_with(&format!(" audit={head}")), "{}", result.line);
    assert_eq!(earlier.store.audit_ends().unwrap(), [head]);
    assert_eq!(earlier.record().state, State::Committed);
    let state = earlier.store.state().unwrap();
    assert_eq!((state.job.as_ref(), state.permanent.len(), state.at), (None, 2, 1));
    // What is written back is what was read: no key more, none less.
    for (file, ours) in [
        (earlier.job_file("result"), serde_json::to_value(&result).unwrap()),
        (earlier.job_file("record"), serde_json::to_value(earlier.record()).unwrap()),
        ("state.json".to_owned(), serde_json::to_value(&state).unwrap()),
    ] {
        assert_eq!(earlier.json(&file), ours, "{file}");
    }
}

/// Two builds that took different locks would work at the same time.
#[test]
fn the_lock_is_the_file_that_an_earlier_build_locked() {
    let earlier = Earlier::copy("trial");
    let theirs = fs::metadata(earlier.root.join("lock")).unwrap().len();
    let other = fs::File::open(earlier.root.join("lock")).unwrap();
    let held = nix::fcntl::Flock::lock(other, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    assert!(earlier.store.lock().unwrap().is_none());
    drop(held);
    assert!(earlier.store.lock().unwrap().is_some());
    assert_eq!(theirs, 0, "nothing stands in it");
}
