//! What a check asks: an address to connect to, an http address, a pattern in the answer.

use super::values::FromText;

/// `host:port`, or `[address]:port` for IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule = "an endpoint is host:port, or [address]:port for IPv6";
        let (host, port) = text.rsplit_once(':').ok_or(rule)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let good = match bare {
            Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
            None => is_host(host),
        };
        let digits = port.bytes().all(|b| b.is_ascii_digit()); // parse() takes a sign, too
        let port = port.parse().ok().filter(|port| *port != 0 && digits && good).ok_or(rule)?;
        Ok(Self { host: bare.unwrap_or(host).to_owned(), port })
    }
    pub fn host(&self) -> &str {
        &self.host
    }
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// The host of an address, with a port or without.
pub(super) fn is_authority(text: &str) -> bool {
    Endpoint::parse(text).is_ok() || Endpoint::parse(&format!("{text}:80")).is_ok()
}

/// A name or an IPv4 address.
pub(super) fn is_host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !text.starts_with(['-', '.'])
}

/// `http://host[:port]/path` or https, with a query but without a password: checks stand in a file that anybody
/// may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(String);

impl HttpUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule = "an http check is http://host[:port]/path or https://…, without a password, plain ASCII";
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(rule)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let good = is_authority(authority)
            && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/?&=%+:@!$'()*,;".contains(&b))
            && text.len() <= 2000;
        if good { Ok(Self(text.to_owned())) } else { Err(rule) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A regular expression that is looked for in an answer; `^` and `$` are the ends of a line. Its search takes time in proportion to the answer,
/// whatever either of them is.
#[derive(Debug, Clone)]
pub struct Pattern(regex_lite::Regex);

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let lines = regex_lite::RegexBuilder::new(text).multi_line(true).build();
        lines.map(Self).map_err(|error| format!("not a regular expression: {error}"))
    }
    pub fn occurs_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
impl Eq for Pattern {}

impl FromText for Endpoint {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(str::to_owned)
    }
}
impl FromText for HttpUrl {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(str::to_owned)
    }
}
impl FromText for Pattern {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for good in ["127.0.0.1:22", "db.example.org:5432", "[::1]:80", "localhost:65535"] {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":80",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+80",
            "::1:80",
            "[::1]",
            "-x:1",
            "a b:1",
            "[x]:1",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Endpoint::parse("[::1]:80").unwrap().host(), "::1");
    }

    #[test]
    fn an_http_address_is_nothing_that_curl_could_take_for_more() {
        for good in
            ["http://127.0.0.1/", "https://a.example.org:8443/x?y=1&z=%20", "http://[::1]:80/", "http://a"]
        {
            assert!(HttpUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "ftp://a/",
            "file:///etc/passwd",
            "-o/etc/x",
            "http://user:secret@a/",
            "http://-a/",
            "http://a/{1,2}",
            "http://a/[1-9]",
            "http://a/x y",
            "http://a/\nx",
            "http://a:0/",
            "http://a:+80/",
            "http://",
            "HTTP://a/",
        ] {
            assert!(HttpUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
