//! A hardware key (ed25519-sk) in software: what a FIDO token does to sign for ssh, as in OpenSSH's PROTOCOL.u2f and
//! PROTOCOL.sshsig, with the key of openssl. There is no token in a test, and what checks the signature must not know.

use super::{Workshop, fed, text};
use sha2::{Digest, Sha256, Sha512};
use std::fs;

const KIND: &str = "sk-ssh-ed25519@openssh.com";
const APPLICATION: &str = "ssh:";

/// Whether somebody touched the token.
#[derive(Debug, Clone, Copy)]
pub enum Touch {
    Yes,
    No,
}

impl Workshop {
    /// Makes the key of the token: its line, as in `authorized_keys`.
    pub fn token(&self) -> String {
        text(self.program("openssl").args([
            "genpkey",
            "-quiet",
            "-algorithm",
            "ed25519",
            "-out",
            "token.pem",
        ]));
        let public = ["pkey", "-in", "token.pem", "-pubout", "-outform", "DER", "-out", "token.der"];
        text(self.program("openssl").args(public));
        format!("{KIND} {}", self.base64(&self.token_blob()))
    }
    fn token_blob(&self) -> Vec<u8> {
        let der = fs::read(self.path("token.der")).unwrap();
        [string(KIND.as_bytes()), string(&der[der.len() - 32..]), string(APPLICATION.as_bytes())].concat()
    }
    fn base64(&self, bytes: &[u8]) -> String {
        fed(self.program("base64").arg("--wrap=0"), bytes)
    }

    /// A header with the token's signature over these bytes.
    pub fn token_header(&self, touch: Touch, payload: &[u8]) -> String {
        let (namespace, hash) = (string(b"git"), string(b"sha512"));
        let digest = string(&Sha512::digest(payload));
        let message = [b"SSHSIG", &namespace[..], &string(b""), &hash, &digest].concat();
        let state = [u8::from(matches!(touch, Touch::Yes)), 0, 0, 0, 7]; // flags, and a counter
        let signed = [&Sha256::digest(APPLICATION)[..], &state, &Sha256::digest(message)].concat();
        fs::write(self.path("token.in"), signed).unwrap();
        let sign =
            ["pkeyutl", "-sign", "-rawin", "-inkey", "token.pem", "-in", "token.in", "-out", "token.out"];
        text(self.program("openssl").args(sign));
        let raw = fs::read(self.path("token.out")).unwrap();
        let signature = string(&[string(KIND.as_bytes()), string(&raw), state.to_vec()].concat());
        let blob = string(&self.token_blob());
        let whole = [b"SSHSIG\0\0\0\x01", &blob[..], &namespace, &string(b""), &hash, &signature].concat();
        let lines = fed(self.program("base64").arg("--wrap=70"), &whole).replace('\n', "\n ");
        format!("gpgsig -----BEGIN SSH SIGNATURE-----\n {lines}\n -----END SSH SIGNATURE-----\n")
    }
}

/// As ssh writes a string: its length, and the bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}
