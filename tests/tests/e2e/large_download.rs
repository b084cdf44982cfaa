//! A large file arrives whole through every VIP, for both projects at once.

use std::{fs, process::Command, thread};

use anyhow::{Context as _, Result};
use balancer_tests::{
    conformance::{over, proves},
    web,
};
use xtask::lab::{Lab, Topology, Underlay, checked};

const FILE_BYTES: &str = "100M";

#[test]
fn a_100_mb_download_has_an_equal_hash_through_every_vip() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let files = lab.data_dir().join("files");
    fs::create_dir(&files)?;
    let blob = files.join("blob");
    checked(Command::new("sh").args(["-c", &format!("head -c {FILE_BYTES} /dev/urandom >{}", blob.display())]))?;
    let _servers = web::nginx_everywhere(&lab)?;
    let _balancer = lab.start_balancer(&web::config(&lab, &["web-1", "web-2"]).to_toml())?;
    let expected = first_word(&checked(Command::new("sha256sum").arg(&blob))?.stdout)?;

    thread::scope(|scope| {
        let downloads = web::PROJECTS.map(|project| {
            let (lab, expected) = (&lab, &expected);
            scope.spawn(move || -> Result<()> {
                for vip in web::vips(project) {
                    let pipeline = format!(
                        "curl --silent --show-error --fail --max-time 50 {} | sha256sum",
                        web::url(vip, "files/blob")
                    );
                    let output = lab.ns("client").run(["sh", "-c", &pipeline])?;
                    assert_eq!(&first_word(&output.stdout)?, expected, "{project} through {vip}");
                }
                Ok(())
            })
        });
        downloads.into_iter().try_for_each(|download| download.join().expect("a download does not panic"))
    })?;
    proves(&[12, 14], over(Underlay::Ipv4));
    Ok(())
}

fn first_word(text: &[u8]) -> Result<String> {
    Ok(String::from_utf8_lossy(text).split_whitespace().next().context("sha256sum prints the hash")?.to_owned())
}
