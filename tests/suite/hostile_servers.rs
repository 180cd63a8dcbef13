//! Servers that do not keep to the protocol: whatever they send, the program ends with an error that says so, in bounded memory.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Server, majors, pgark};

/// Address space of the program, in KiB: it fits with room, and what a server can make it hold does not.
const MEMORY_KIB: u32 = 1_200_000;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A session that is ready: what a server says to somebody whom it trusts.
fn greeting() -> Vec<u8> {
    let mut bytes = message(b'R', &[0; 4]);
    for (name, value) in [
        ("server_version", "15.4"),
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
    ] {
        bytes.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    bytes.extend(message(b'K', &[0, 0, 0, 7, 0, 0, 0, 9]));
    bytes.extend(message(b'Z', b"I"));
    bytes
}

/// Serves each connection with `behave`, which gets it after the client's first message. Gives the port.
fn serve(behave: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let behave = std::sync::Arc::new(behave);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(mut client), behave) = (client, std::sync::Arc::clone(&behave)) else {
                return;
            };
            std::thread::spawn(move || {
                let mut hello = [0; 4096];
                let _ = client.set_read_timeout(Some(Duration::from_secs(20)));
                if client.read(&mut hello).is_ok_and(|n| n > 0) {
                    behave(&mut client);
                }
            });
        }
    });
    port
}

/// Runs the program with little memory; it must end by itself, with an error and not by a signal.
fn refused(port: u16, arguments: &[&str]) -> String {
    let at = format!(
        "host=127.0.0.1 port={port} user=u dbname=d sslmode=disable gssencmode=disable connect_timeout=10"
    );
    let program = pgark();
    let mut limited = Command::new("bash");
    limited.args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"")]);
    limited
        .arg(program.get_program())
        .args(arguments)
        .args(["-d", &at]);
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let Output {
        status,
        stdout,
        stderr,
    } = limited
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(
        status.code().is_some_and(|code| code != 0 && code < 100),
        "{status}: {said}"
    );
    assert!(
        !said.contains("panicked") && !said.contains("memory allocation"),
        "{said}"
    );
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(!folder.path().join("backups/archives").exists(), "{said}");
    said
}

const QUERY: [&str; 3] = ["exec", "-c", "SELECT 1"];

#[test]
fn what_is_no_server_is_told_so() {
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"R",
        b"E\0\0\0\x01",
        &[0xff; 64],
    ] {
        let garbage = garbage.to_vec();
        let port = serve(move |client| _ = client.write_all(&garbage));
        for arguments in [&QUERY[..], &["dump"]] {
            let said = refused(port, arguments);
            assert!(said.contains("127.0.0.1"), "{said}");
        }
    }
}

/// Sends a head that promises more than anybody may, and then bytes for ever.
fn endless(before: Vec<u8>, tag: u8, length: u32) -> u16 {
    serve(move |client| {
        let mut bytes = before.clone();
        bytes.push(tag);
        bytes.extend(length.to_be_bytes());
        if client.write_all(&bytes).is_err() {
            return;
        }
        let filler = vec![b'x'; 1 << 20];
        while client.write_all(&filler).is_ok() {}
    })
}

#[test]
fn no_message_is_believed_to_be_as_long_as_it_says() {
    for (before, tag) in [
        (Vec::new(), b'R'),
        (Vec::new(), b'E'),
        (Vec::new(), b'S'),
        (greeting(), b'C'),
        (greeting(), b'E'),
        (greeting(), b'D'),
        (greeting(), b'T'),
    ] {
        for length in [0x7fff_ffff, u32::MAX] {
            let said = refused(endless(before.clone(), tag, length), &QUERY);
            assert!(
                said.contains(&format!("{length} bytes of type")),
                "{}: {said}",
                char::from(tag)
            );
        }
    }
}

#[test]
fn notices_without_end_do_not_fill_the_memory() {
    // 1.9 GB, of which nothing stays but beginnings.
    let text = "x".repeat(15 << 20);
    let notice = message(
        b'N',
        format!("SWARNING\0VWARNING\0C01000\0M{text}\0\0").as_bytes(),
    );
    let port = serve(move |client| {
        let _ = client.write_all(&greeting());
        for _ in 0..120 {
            if client.write_all(&notice).is_err() {
                return;
            }
        }
    });
    let said = refused(port, &QUERY);
    assert!(said.len() < 10 << 20, "{} bytes", said.len());
}

/// A proxy to a server that replaces some of its bytes by as many others.
fn altering(server: String, from: &'static [u8], to: &'static [u8]) -> u16 {
    assert_eq!(from.len(), to.len());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(mut client), Ok(mut server)) = (client, TcpStream::connect(&server)) else {
                return;
            };
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let (mut sent, mut to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut sent, &mut to_server);
                let _ = to_server.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn(move || {
                let (mut held, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
                while let Ok(n @ 1..) = server.read(&mut buffer) {
                    held.extend_from_slice(&buffer[..n]);
                    let mut at = 0;
                    while let Some(found) = held[at..]
                        .windows(from.len())
                        .position(|bytes| bytes == from)
                    {
                        held[at + found..at + found + from.len()].copy_from_slice(to);
                        at += found + from.len();
                    }
                    // What may be the beginning of it waits for the rest.
                    let kept = (1..from.len())
                        .rev()
                        .find(|n| held.ends_with(&from[..*n]))
                        .unwrap_or(0);
                    let rest = held.split_off(held.len() - kept);
                    if client.write_all(&held).is_err() {
                        return;
                    }
                    held = rest;
                }
                // The other direction holds the socket open too.
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn a_wrong_number_of_rows_makes_no_archive() {
    let server = Server::shared(*majors().last().unwrap());
    let database = server.create_database("miscounted");
    database.psql("CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 3172) AS i");
    let tcp = database.tcp_conninfo();
    let real_port = tcp
        .split("port=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    let real = format!("127.0.0.1:{real_port}");
    for (from, to) in [
        (&b"COPY 3172\0"[..], &b"COPY 3171\0"[..]),
        (b"COPY 3172\0", b"SELECT 317"),
    ] {
        let port = altering(real.clone(), from, to);
        let at = tcp.replace(
            &format!("port={real_port}"),
            &format!("port={port} sslmode=disable"),
        );
        let folder = tempfile::tempdir().unwrap();
        let output = pgark()
            .args(["dump", "-d", &at, "--name", "n", "-r"])
            .arg(folder.path().join("repo"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output
                .status
                .code()
                .is_some_and(|code| code != 0 && code < 100),
            "{said}"
        );
        assert!(
            !folder.path().join("repo/archives/n.json").exists(),
            "{said}"
        );
        assert!(
            said.contains("rows") || said.contains("3172") || said.contains("COPY"),
            "{said}"
        );
    }
}
