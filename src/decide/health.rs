//! What the findings of health checks mean: for one answer, for the units, for a trial.

use super::config::{Config, Http, UnitPolicy};
use super::units::{UnitState, Units};
use std::fmt;
use std::time::Duration;

/// How a check stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Well,
    Failed,
    /// Nobody looked, or waited for it.
    Unknown,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Well => "well",
            Self::Failed => "failed",
            Self::Unknown => "-",
        })
    }
}

/// One check, before and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub kind: &'static str,
    pub before: Standing,
    pub now: Standing,
    pub tries: u32,
    pub time: Duration,
    /// What is wrong now.
    pub why: Option<String>,
}

impl Row {
    /// It failed before, so that it fails now is nobody's fault.
    pub fn still_fails(&self) -> bool {
        (self.before, self.now) == (Standing::Failed, Standing::Failed)
    }
    pub fn newly_fails(&self) -> bool {
        self.before != Standing::Failed && self.now == Standing::Failed
    }
}

/// One line for each check, below a line that names the columns.
pub fn table(rows: &[Row]) -> Vec<String> {
    let name = rows.iter().map(|row| row.name.len()).max().unwrap_or_default().max("check".len());
    let head = format!("{:name$}  kind      before  now     seconds  tries", "check");
    let line = |row: &Row| {
        let Row { name: text, kind, before, now, tries, time, .. } = row;
        format!("{text:name$}  {kind:8}  {before:6}  {now:6}  {:7.3}  {tries:5}", time.as_secs_f64())
    };
    std::iter::once(head).chain(rows.iter().map(line)).collect()
}

/// The same for the audit log: how many there were, and which are not well.
pub fn summary(rows: &[Row], time: Duration) -> Vec<(&'static str, String)> {
    let names = |which: &dyn Fn(&Row) -> bool| {
        let names: Vec<&str> = rows.iter().filter(|row| which(row)).map(|row| row.name.as_str()).collect();
        names.join(" ")
    };
    vec![
        ("checks", rows.len().to_string()),
        ("failed", names(&Row::newly_fails)),
        ("still-failing", names(&Row::still_fails)),
        ("unknown", names(&|row| row.now == Standing::Unknown)),
        ("milliseconds", time.as_millis().to_string()),
    ]
}

/// What curl printed: the body, and behind it the status on a line of its own. What is wrong with it, where something is.
pub fn answers_as(http: &Http, code: i32, printed: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(printed);
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", ""));
    match status.parse::<u16>() {
        Ok(status) if code == 0 && status != http.status => {
            Err(format!("status {status} instead of {}", http.status))
        }
        Ok(_) if code == 0 => match &http.body {
            Some(pattern) if !pattern.occurs_in(body) => {
                Err(format!("the answer has nothing that matches {}", pattern.as_str()))
            }
            _ => Ok(()),
        },
        _ => Err(format!("no answer; curl ended with {code}, and its line above says why")),
    }
}

/// A unit that has to be active.
pub fn is_active(units: &Units, unit: &str) -> Result<(), String> {
    let how = match units.state(unit) {
        Some(UnitState::Active) => return Ok(()),
        Some(UnitState::Failed) => "has failed",
        Some(UnitState::Restarting) => "died and waits to be started again",
        Some(UnitState::Starting) => "is still being started",
        // A unit that nobody uses is not loaded.
        Some(UnitState::Other) | None => "is not active",
    };
    Err(format!("{unit} {how}"))
}

/// What has become worse with the units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitTrouble {
    /// Failed, or dying and started again.
    pub failed: Vec<String>,
    /// Not active, and missed.
    pub lost: Vec<String>,
    /// Either of them, where the configuration says that it is worth a line and no more.
    pub warnings: Vec<String>,
}

impl UnitTrouble {
    /// Compared with an earlier look. What the configuration requires to be active is missed whatever the reason, and
    /// has no other policy.
    pub fn of(config: &Config, before: &Units, now: &Units) -> Self {
        let policy = |unit: &str| match config.requires(unit) {
            true => UnitPolicy::Revert,
            false => config.units.of(unit),
        };
        let failed = now.newly_failed(before);
        let mut lost = now.lost(before);
        lost.extend(now.gone(before).into_iter().filter(|unit| config.requires(unit)));
        lost.retain(|unit| !failed.contains(unit));
        lost.sort();
        lost.dedup();
        let with = |units: &[String], wanted: UnitPolicy| -> Vec<String> {
            units.iter().filter(|unit| policy(unit) == wanted).cloned().collect()
        };
        Self {
            warnings: [with(&failed, UnitPolicy::Warn), with(&lost, UnitPolicy::Warn)].concat(),
            failed: with(&failed, UnitPolicy::Revert),
            lost: with(&lost, UnitPolicy::Revert),
        }
    }

    /// What a person is told, and where to look.
    pub fn verdict(&self) -> Result<(), String> {
        let mut said = Vec::new();
        if let Some(unit) = self.failed.first() {
            said.push(format!("newly failed: {}; on the host: journalctl -u {unit}", self.failed.join(", ")));
        }
        if let Some(unit) = self.lost.first() {
            let (what, units) = match self.lost.as_slice() {
                [_] => ("was active and is not", unit.clone()),
                units => ("were active and are not", units.join(", ")),
            };
            said.push(format!("{units} {what}; on the host: systemctl status {unit}"));
        }
        if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(more: &str) -> Http {
        let text = format!(
            "{}[[check]]\nname = \"a\"\nhttp = \"http://a/\"\n{more}",
            "version = 1\n[source]\nkind = \"flake\"\nurl = \"ssh://git@f/i.git\"\nsystem = \"w\"\n"
        );
        match Config::parse(&text).unwrap().checks.remove(0).kind {
            super::super::config::CheckKind::Http(http) => http,
            kind => panic!("{kind:?}"),
        }
    }

    #[test]
    fn an_answer_is_judged_by_status_and_body() {
        let any = http("");
        assert_eq!(answers_as(&any, 0, b"hello\n200"), Ok(()));
        assert_eq!(answers_as(&any, 0, b"\n200"), Ok(()));
        assert_eq!(answers_as(&any, 0, b"x\n503"), Err("status 503 instead of 200".to_owned()));
        assert!(answers_as(&any, 7, b"\n000").is_err());
        assert!(answers_as(&any, 28, b"half\n200").is_err(), "cut off");
        assert!(answers_as(&any, 0, b"").is_err());
        let ok = http("body = \"^ok$\"\nstatus = 203");
        for good in [&b"ok\n203"[..], b"ok\n\n203", b"state:\nok\n203"] {
            assert_eq!(answers_as(&ok, 0, good), Ok(()));
        }
        assert!(answers_as(&ok, 0, b"not ok\n203").is_err());
        // A body cannot speak for the status.
        assert!(answers_as(&ok, 0, b"ok\n203\n500").is_err());
    }

    fn units(text: &str) -> Units {
        let rows: Vec<_> = text
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(unit, active)| serde_json::json!({"unit": unit, "active": active, "sub": "x"}))
            .collect();
        Units::parse(Duration::ZERO, serde_json::to_string(&rows).unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn a_policy_decides_what_a_unit_is_worth_unless_it_is_required() {
        let config = |units: &str| {
            let text = format!(
                "version = 1\n[source]\nkind = \"flake\"\nurl = \"ssh://git@f/i.git\"\nsystem = \"w\"\n\
                 [revert]\nrequired-units = [\"db.service\"]\n[units]\n{units}"
            );
            Config::parse(&text).unwrap()
        };
        let before = units("web.service=active db.service=active sshd.service=active");
        let trouble = |policies: &str, now: &str| UnitTrouble::of(&config(policies), &before, &units(now));
        let bad = "web.service=failed db.service=active sshd.service=active";
        assert!(trouble("", bad).verdict().unwrap_err().starts_with("newly failed: web.service"));
        let warn = trouble("\"w*.service\" = \"warn\"", bad);
        assert_eq!((warn.verdict(), warn.warnings), (Ok(()), vec!["web.service".to_owned()]));
        assert_eq!(trouble("\"web.service\" = \"ignore\"", bad), UnitTrouble::default());
        let gone = "web.service=inactive db.service=inactive sshd.service=inactive";
        let lost = trouble("\"*.service\" = \"ignore\"", gone);
        assert_eq!(lost.lost, ["db.service", "sshd.service"], "web may have ended by itself");
        assert!(lost.verdict().unwrap_err().contains("db.service, sshd.service were active and are not"));
        assert_eq!(trouble("", "db.service=active sshd.service=active web.service=active").verdict(), Ok(()));
    }

    #[test]
    fn the_table_has_a_line_for_each_check() {
        let row = |name: &str, before, now| Row {
            name: name.to_owned(),
            kind: "http",
            before,
            now,
            tries: 2,
            time: Duration::from_millis(1234),
            why: None,
        };
        let rows = [
            row("web", Standing::Well, Standing::Failed),
            row("a-longer-name", Standing::Failed, Standing::Failed),
            row("db", Standing::Well, Standing::Unknown),
        ];
        assert_eq!(
            table(&rows),
            [
                "check          kind      before  now     seconds  tries",
                "web            http      well    failed    1.234      2",
                "a-longer-name  http      failed  failed    1.234      2",
                "db             http      well    -         1.234      2",
            ]
        );
        let said: Vec<String> = summary(&rows, Duration::from_secs(2))
            .into_iter()
            .map(|(key, text)| format!("{key}={text}"))
            .collect();
        assert_eq!(
            said,
            ["checks=3", "failed=web", "still-failing=a-longer-name", "unknown=db", "milliseconds=2000"]
        );
    }
}
