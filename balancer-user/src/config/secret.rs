//! Turns `hash_secret` or the file that `hash_secret_file` names into the hash secret, without ever showing it.

use std::{fs::File, io::Read, os::unix::fs::PermissionsExt, path::Path};

use super::{
    error::ErrorKind,
    path::KeyPath,
    report::{Finding, Report},
    schema::GatewayTable,
    text::{FilePath, TextFormat},
};
use crate::model::HashSecret;

/// Bytes of a secret file that are read; 32 digits and a newline need no more.
const FILE_BYTES_MAX: u64 = 256;

/// Permission bits of group and others.
const MODE_OTHERS: u32 = 0o077;

/// The secret, from exactly one of its two keys. `gateway` is the path of the table, `directory` what its paths are relative to.
pub(crate) fn resolve(
    table: &GatewayTable,
    gateway: &KeyPath<'_>,
    directory: &Path,
    report: &mut Report<'_>,
) -> Option<HashSecret> {
    let (inline, file) = (&table.hash_secret, &table.hash_secret_file);
    if inline.is_absent() && file.is_absent() {
        let message = "neither `hash_secret` nor `hash_secret_file` is given: make a secret with `openssl rand -hex 16` and use it on every gateway";
        report.add(
            &gateway.key("hash_secret"),
            Finding::new(ErrorKind::MissingKey, message).allowed(HashSecret::ALLOWED),
        );
        return None;
    }
    if !inline.is_absent() && !file.is_absent() {
        let message = "`hash_secret` and `hash_secret_file` are both given: remove one";
        report.add(&gateway.key("hash_secret_file"), Finding::new(ErrorKind::Conflict, message));
        return None;
    }
    if let Some(FilePath(path)) = file.text() {
        let path = directory.join(path);
        return read(&path)
            .map_err(|(kind, message)| {
                let finding = Finding::new(kind, format!("{}: {message}", path.display()));
                report
                    .add(&gateway.key("hash_secret_file"), finding.value(path.display()).allowed(HashSecret::ALLOWED));
            })
            .ok();
    }
    inline.text().cloned()
}

fn read(path: &Path) -> Result<HashSecret, (ErrorKind, String)> {
    let unreadable = |error: std::io::Error| (ErrorKind::Unreadable, error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & MODE_OTHERS != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:04o}", mode & 0o7777), "the hash secret's file is open to others; chmod 600 closes it");
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| (ErrorKind::BadValue, "the file is not text".to_owned()))?;
    HashSecret::parse(text.trim()).map_err(|reason| (ErrorKind::BadValue, format!("what the file holds {reason}")))
}
