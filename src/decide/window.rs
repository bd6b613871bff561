//! Allowed times: the windows of a role, in UTC, as minutes of a week that begins on Monday.

use std::fmt;

const DAY: u16 = 24 * 60;
const WEEK: u16 = 7 * DAY;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A moment of the wall clock, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    pub fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }
    pub fn unix(self) -> u64 {
        self.0
    }
    /// 1970 began on a Thursday.
    fn minute_of_week(self) -> u16 {
        let minute = (self.0 / 60 + u64::from(3 * DAY)) % u64::from(WEEK);
        u16::try_from(minute).unwrap_or(0) // below WEEK, so it fits
    }
}

/// `Mon..Fri 08:00-18:00 UTC`: the days on which it opens, and from when to when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    opens: Vec<u16>,
    length: u16,
}

/// The windows of a role: open while one of them is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

const RULE: &str = "a window is written like \"Mon..Fri 08:00-18:00 UTC\", \"Sat,Sun 22:00-06:00 UTC\" (into the next day) or \"02:00-04:00 UTC\" (every day)";

impl Windows {
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        if texts.is_empty() {
            return Err("no window would never open; for every hour leave `windows` out".to_owned());
        }
        let windows: Option<Vec<Window>> = texts.iter().map(|text| window(text)).collect();
        windows.map(Self).ok_or_else(|| RULE.to_owned())
    }

    pub fn is_open(&self, at: Moment) -> bool {
        let now = at.minute_of_week();
        let open = |window: &Window| window.opens.iter().any(|opens| ahead(*opens, now) < window.length);
        self.0.iter().any(open)
    }

    /// When the next one opens, for one who came too early.
    pub fn next(&self, at: Moment) -> Opening {
        let now = at.minute_of_week();
        let opens = self.0.iter().flat_map(|window| &window.opens).min_by_key(|opens| ahead(now, **opens));
        Opening(opens.copied().unwrap_or(0)) // there is at least one, by `parse`
    }
}

/// How many minutes lead from one minute of the week to the next time that it is `to`.
fn ahead(from: u16, to: u16) -> u16 {
    (to + WEEK - from) % WEEK
}

/// A minute of the week, as `Mon 08:00 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening(u16);

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS.get(usize::from(self.0 / DAY)).unwrap_or(&"");
        write!(f, "{day} {:02}:{:02} UTC", self.0 % DAY / 60, self.0 % 60)
    }
}

fn window(text: &str) -> Option<Window> {
    let text = text.strip_suffix(" UTC")?;
    let (days, hours) = text.split_once(' ').unwrap_or(("Mon..Sun", text));
    let (from, to) = hours.split_once('-')?;
    let (from, to) = (minute_of_day(from)?, minute_of_day(to)?);
    if from == DAY || from == to {
        return None;
    }
    let length = if from < to { to - from } else { to + DAY - from };
    Some(Window { opens: days_of(days)?.iter().map(|day| day * DAY + from).collect(), length })
}

/// `Mon..Wed,Fri`, each a number from 0. A range may go over the end of the week.
fn days_of(text: &str) -> Option<Vec<u16>> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name).and_then(|n| u16::try_from(n).ok());
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let many = (last + 7 - first) % 7;
        days.extend((first..=first + many).map(|day| day % 7));
    }
    Some(days)
}

/// `HH:MM`, two digits each, up to `24:00`.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| plain)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let all = hour * 60 + minute;
    (minute < 60 && all <= DAY).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(texts: &[&str]) -> Result<Windows, String> {
        Windows::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }
    /// A time of the week of Monday, 5 January 1970.
    fn at(day: u64, hour: u64, minute: u64) -> Moment {
        Moment::from_unix(((4 + day) * 24 + hour) * 3600 + minute * 60 + 59)
    }

    #[test]
    fn it_is_open_from_its_first_minute_to_the_one_before_its_last() {
        let office = windows(&["Mon..Fri 08:00-18:00 UTC"]).unwrap();
        for (day, hour, minute, open) in
            [(0, 7, 59, false), (0, 8, 0, true), (4, 17, 59, true), (4, 18, 0, false), (5, 12, 0, false)]
        {
            assert_eq!(office.is_open(at(day, hour, minute)), open, "{day} {hour}:{minute}");
        }
        assert_eq!(office.next(at(4, 18, 0)).to_string(), "Mon 08:00 UTC");
        assert_eq!(office.next(at(1, 7, 0)).to_string(), "Tue 08:00 UTC");
        let whole = windows(&["Sun 00:00-24:00 UTC"]).unwrap();
        assert!(whole.is_open(at(6, 23, 59)) && !whole.is_open(at(0, 0, 0)));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_began() {
        let night = windows(&["Sun 22:00-06:00 UTC", "Wed 01:30-02:00 UTC"]).unwrap();
        for (day, hour, open) in [(6, 22, true), (0, 5, true), (0, 6, false), (6, 5, false), (0, 22, false)] {
            assert_eq!(night.is_open(at(day, hour, 0)), open, "{day} {hour}");
        }
        assert_eq!(night.next(at(0, 6, 0)).to_string(), "Wed 01:30 UTC");
        assert_eq!(night.next(at(2, 2, 0)).to_string(), "Sun 22:00 UTC");
    }

    #[test]
    fn days_are_lists_and_ranges_also_over_the_weekend() {
        let days = |text: &str| days_of(text).unwrap();
        assert_eq!(days("Mon..Wed,Fri"), [0, 1, 2, 4]);
        assert_eq!(days("Sat..Mon"), [5, 6, 0]);
        assert!(windows(&["02:00-04:00 UTC"]).unwrap().is_open(at(3, 3, 0)));
        assert_eq!(windows(&["02:00-04:00 UTC"]).unwrap().next(at(3, 4, 0)).to_string(), "Fri 02:00 UTC");
    }

    #[test]
    fn what_is_not_a_window_is_refused_and_none_at_all_too() {
        for bad in [
            "",
            "UTC",
            "Mon 08:00-18:00",
            "Mon 08:00-18:00 CET",
            "mon 08:00-18:00 UTC",
            "Mon  08:00-18:00 UTC",
            "Mon-Fri 08:00-18:00 UTC",
            "Mon.. 08:00-18:00 UTC",
            "Mon,, 08:00-18:00 UTC",
            "Mon 8:00-18:00 UTC",
            "Mon 08:60-18:00 UTC",
            "Mon 08:00-24:01 UTC",
            "Mon 24:00-06:00 UTC",
            "Mon 08:00-08:00 UTC",
            "Mon +8:00-18:00 UTC",
            "Mon 08:00..18:00 UTC",
        ] {
            assert!(windows(&[bad]).is_err(), "{bad}");
        }
        assert!(windows(&[]).is_err() && windows(&["Mon 08:00-18:00 UTC", "never"]).is_err());
    }

    #[test]
    fn the_week_of_a_real_date_is_right() {
        // 2026-11-23T08:00:00Z, a Monday
        let office = windows(&["Mon 08:00-08:01 UTC"]).unwrap();
        assert!(office.is_open(Moment::from_unix(1_795_420_800)));
        assert!(!office.is_open(Moment::from_unix(1_795_420_799)));
    }
}
