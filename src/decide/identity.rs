//! Who asks: the file that sshd's `ExposeAuthInfo` names, and the connection's address. Owner of crates
//! `ssh-key` and `ssh-encoding`.

use super::claim::{MAX_LIST, Proof, Text};
use super::value::Fingerprint;
use ssh_encoding::{Base64Reader, Decode, Reader};
use ssh_key::{Algorithm, HashAlg, PublicKey};

/// The proofs in an auth-info file, one line per method that succeeded: `publickey TYPE BASE64`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Proofs {
    pub read: Vec<Proof>,
    /// Lines that prove nothing that we can name; they are left out, so they can only take rights away.
    pub ignored: usize,
}

pub fn proofs(file: &[u8]) -> Proofs {
    let mut proofs = Proofs::default();
    for line in file.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match proof(line) {
            Some(proof) if proofs.read.len() < MAX_LIST => proofs.read.push(proof),
            _ => proofs.ignored += 1,
        }
    }
    proofs
}

fn proof(line: &[u8]) -> Option<Proof> {
    let key = std::str::from_utf8(line).ok()?.strip_prefix("publickey ")?;
    let (kind, base64) = key.split_once(' ')?;
    match Algorithm::new_certificate(kind) {
        Ok(algorithm) => certificate(kind, &algorithm, base64).ok().flatten(),
        Err(_) => {
            let read = PublicKey::from_openssh(key).ok()?;
            // The crate takes wrong lengths in a blob; a fingerprint is that of the bytes that sshd wrote.
            (read.to_openssh().ok()? == key).then(|| fingerprint(&read)).flatten().map(Proof::Key)
        }
    }
}

/// What sshd has checked already, so that only names are left to read (OpenSSH's PROTOCOL.certkeys). Not
/// `ssh_key::Certificate`: until 0.7 that refuses the default of `ssh-keygen -s`, a certificate without an end
/// (RustCrypto/SSH#503).
fn certificate(kind: &str, algorithm: &Algorithm, base64: &str) -> ssh_key::Result<Option<Proof>> {
    let skip = |fields: usize, reader: &mut Base64Reader<'_>| {
        (0..fields).try_for_each(|_| Vec::<u8>::decode(reader).map(drop))
    };
    let key_fields = match algorithm {
        Algorithm::Ed25519 => 1,
        Algorithm::Rsa { .. } | Algorithm::Ecdsa { .. } | Algorithm::SkEd25519 => 2,
        Algorithm::SkEcdsaSha2NistP256 => 3,
        _ => return Ok(None),
    };
    let reader = &mut Base64Reader::new(base64.as_bytes())?;
    if String::decode(reader)? != kind {
        return Ok(None);
    }
    skip(1 + key_fields, reader)?; // nonce and key
    let (_serial, cert_type) = (u64::decode(reader)?, u32::decode(reader)?);
    let (key_id, principals) = (Vec::<u8>::decode(reader)?, Vec::<u8>::decode(reader)?);
    let (_valid_after, valid_before) = (u64::decode(reader)?, u64::decode(reader)?);
    skip(3, reader)?; // critical options, extensions, reserved
    let authority_blob = Vec::<u8>::decode(reader)?;
    let authority = PublicKey::from_bytes(&authority_blob)?;
    skip(1, reader)?; // signature
    if cert_type != USER_CERTIFICATE || !reader.is_finished() || authority.to_bytes()? != authority_blob {
        return Ok(None);
    }
    let mut principals = principals.as_slice();
    let mut names = Vec::new();
    while !principals.is_finished() && names.len() < MAX_LIST {
        names.push(Text::from_bytes(&Vec::<u8>::decode(&mut principals)?));
    }
    Ok(fingerprint(&authority).map(|authority| Proof::Certificate {
        authority,
        key_id: Text::from_bytes(&key_id),
        principals: names,
        valid_before: (valid_before != u64::MAX).then_some(valid_before), // `ssh-keygen -V forever`
    }))
}

const USER_CERTIFICATE: u32 = 1;

/// A line of an authorized_keys file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    Key(Fingerprint),
    /// Whoever this key has signed for (`cert-authority`).
    Authority(Fingerprint),
}

/// The keys of an authorized_keys file, or of one that `TrustedUserCAKeys` names. A line that is not understood lists nobody.
pub fn listed_keys(text: &str) -> Vec<Listed> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(listed_key).collect()
}

/// Options come first and may hold spaces in quotes, so the key is the first pair of words that is one.
fn listed_key(line: &str) -> Option<Listed> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let key = words.windows(2).find_map(|pair| PublicKey::from_openssh(&pair.join(" ")).ok())?;
    let options = words.iter().take_while(|word| Algorithm::new(word).is_err());
    let is_authority = options.flat_map(|word| word.split(',')).any(|option| option == "cert-authority");
    let key = fingerprint(&key)?;
    Some(if is_authority { Listed::Authority(key) } else { Listed::Key(key) })
}

fn fingerprint(key: &PublicKey) -> Option<Fingerprint> {
    Fingerprint::parse(&key.fingerprint(HashAlg::Sha256).to_string()).ok()
}

/// `ADDRESS:PORT` of the caller, from `SSH_CONNECTION` or `SSH_CLIENT`, which both begin with the two.
pub fn address(connection: &[u8]) -> Option<Text> {
    let mut words = connection.split(|b| *b == b' ');
    let (host, port) = (words.next()?, words.next()?);
    let port: u16 = std::str::from_utf8(port).ok()?.parse().ok()?;
    // Not parsed as an address: a link-local one carries its interface (`fe80::1%eth0`).
    let good = (2..=64).contains(&host.len())
        && host.iter().all(|b| b.is_ascii_alphanumeric() || b".:%_-".contains(b));
    let host = std::str::from_utf8(host).ok().filter(|_| good)?;
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Some(Text::from_bytes(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As sshd writes it; the fingerprints below are what `ssh-keygen -l` says of the same keys.
    const FILE: &str = include_str!("../../tests/data/auth-info");

    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        let found = proofs(FILE.as_bytes());
        let keys: Vec<_> = found
            .read
            .iter()
            .filter_map(|proof| if let Proof::Key(key) = proof { Some(key.as_str()) } else { None })
            .collect();
        assert_eq!(
            keys,
            [
                "SHA256:6tRWKFnKMvLArzK+wMQ8EEy9X+RdwZKf8WMT0IbDdEs",
                "SHA256:r210uM9Dyz/6uVfcLn96QYwStRmlQTTjTrLq26+8Aa8",
                "SHA256:81/aJdC03p7+SV/ETUiwrlLffIAbACSs/k2X5f3VdeA",
                "SHA256:1rYiSPZV2H9QsZrfrX/5nhreVmcpuSKQQYA/CKjnPfU",
            ]
        );
        assert_eq!(found.ignored, 0);
    }

    #[test]
    fn a_certificate_is_its_authority_and_names_never_the_key_in_it() {
        let found = proofs(FILE.lines().last().unwrap().as_bytes());
        let authority = Fingerprint::parse("SHA256:D6z0ElguBAuVm1M54dGMGkHVU8Yv++tA+E+nJi4MtYk").unwrap();
        let key_id = Text::from_bytes(b"ci \"x\" key");
        let principals = vec![Text::from_bytes(b"deployers"), Text::from_bytes(b"ops")];
        assert_eq!(found.read, [Proof::Certificate { authority, key_id, principals, valid_before: None }]);
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let line = include_bytes!("../../tests/data/auth-info-that-ends");
        let [Proof::Certificate { valid_before, .. }] = &proofs(line).read[..] else { panic!() };
        assert_eq!(*valid_before, Some(1_798_761_600), "2027-01-01T00:00:00Z");
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_takes_nothing_from_the_rest() {
        let good = FILE.lines().next().unwrap();
        let key = good.strip_prefix("publickey ").unwrap();
        let (kind, blob) = key.split_once(' ').unwrap();
        let mut file = format!("{good}\n");
        for bad in [
            "password",
            key,
            &format!("hostbased {key}"),
            &format!("publickey  {key}"),
            &format!("publickey {kind}"),
            &format!("publickey {kind} {}", blob.replace('A', "!")),
            &format!("publickey {kind} {}", &blob[..20]),
            &format!("publickey ssh-rsa {blob}"),
            &format!("publickey ssh-ed25519-cert-v01@openssh.com {blob}"),
        ] {
            file += &format!("{bad}\n");
        }
        let found = proofs(&[file.as_bytes(), b"publickey \xff\n\n"].concat());
        assert_eq!((found.read.len(), found.ignored), (1, 10));
        assert_eq!(proofs(b""), Proofs::default());
    }

    #[test]
    fn a_blob_that_sshd_would_write_otherwise_is_no_key() {
        let good = FILE.lines().next().unwrap();
        // 288 for the length of the 32 bytes that follow, and to the end.
        let longer = good.replacen("5AAAAID", "5AAABID", 1);
        assert_ne!(longer, good);
        assert_eq!(proofs(longer.as_bytes()), Proofs { read: vec![], ignored: 1 });
    }

    #[test]
    fn a_cut_or_damaged_line_never_panics() {
        for line in FILE.lines() {
            for end in 0..line.len() {
                proofs(&line.as_bytes()[..end]);
            }
            for at in 0..line.len() {
                let mut damaged = line.as_bytes().to_vec();
                damaged[at] ^= 3;
                proofs(&damaged);
            }
        }
        assert_eq!(proofs(good_times(100).as_bytes()).read.len(), MAX_LIST);
    }

    fn good_times(times: usize) -> String {
        format!("{}\n", FILE.lines().next().unwrap()).repeat(times)
    }

    #[test]
    fn the_address_is_one_that_can_be_asked_about() {
        let shown = |text: &str| address(text.as_bytes()).map(|a| a.as_str().to_owned());
        assert_eq!(shown("192.0.2.7 51234 192.0.2.1 22").as_deref(), Some("192.0.2.7:51234"));
        assert_eq!(shown("2001:db8::1 1 22").as_deref(), Some("[2001:db8::1]:1"));
        assert_eq!(shown("fe80::1%eth0 1 22").as_deref(), Some("[fe80::1%eth0]:1"));
        assert_eq!(shown("UNKNOWN 65535 UNKNOWN 65535").as_deref(), Some("UNKNOWN:65535"));
        for bad in ["", "192.0.2.7", "192.0.2.7 65536 x", "a\nb 1", "192.0.2.7;x 1", " 1 2", "x 1"] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
