//! A CA for one test, and its certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Valid for both names of this machine. A leaf must not be a CA, or clients refuse it.
const CONFIG: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = overridden by -subj
[authority]
basicConstraints = critical, CA:true
keyUsage = keyCertSign
[server]
basicConstraints = CA:false
subjectAltName = DNS:localhost, IP:127.0.0.1
";

/// The files of a server and its clients.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// The CA certificate that clients trust.
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Creates a CA and a server certificate in `folder`, with `openssl` 3.
pub(crate) fn make(folder: &Path) -> Certificates {
    fs::write(folder.join("openssl.cnf"), CONFIG).unwrap();
    request(folder, "authority", &[]);
    request(
        folder,
        "server",
        &["-CA", "authority.pem", "-CAkey", "authority.key"],
    );
    Certificates {
        authority: folder.join("authority.pem"),
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
    }
}

/// Makes `NAME.pem` and `NAME.key`, with the extensions of that name in [`CONFIG`]; signed by itself unless `signer`
/// says by whom.
fn request(folder: &Path, name: &str, signer: &[&str]) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(["req", "-x509", "-config", "openssl.cnf", "-days", "2", "-noenc"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-extensions", name, "-subj", &format!("/CN=ocelli test {name}")])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
        .args(signer)
        .stdin(Stdio::null())
        .output()
        .expect("openssl makes the certificates: run `make test-servers`");
    assert!(
        output.status.success(),
        "openssl 3 or newer is needed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
