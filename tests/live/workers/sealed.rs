//! Links that are encrypted: both ends prove themselves by certificates, and whoever has none is refused by name.

use super::*;

/// Returns the options by which one end proves itself, and judges the other by an authority.
fn options(name: &str, authority: &str) -> Vec<String> {
    let place = |file: &str| format!("{}/tests/fixtures/certificates/{file}", env!("CARGO_MANIFEST_DIR"));
    let (cert, key) = (place(&format!("{name}.pem")), place(&format!("{name}.key")));
    ["--cert", &cert, "--key", &key, "--ca", &place(authority)].map(str::to_owned).to_vec()
}

fn with<'t>(options: &'t [String], more: &[&'t str]) -> Vec<&'t str> {
    options.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

#[test]
fn over_encrypted_links_the_tables_are_the_same_and_strangers_are_named() {
    let place = Workplace::new(4);
    let expected = place.anew();
    let [run, known, stranger, elsewhere] = [
        options("run", "ca.pem"),
        options("worker", "ca.pem"),
        options("stranger", "ca.pem"),
        options("worker", "stranger-ca.pem"),
    ];
    let mut crew = Crew::start(&place, &with(&run, &["--no-local"]));
    // One whom the run's authority does not know, one that does not know the run's, and one without any.
    let mut other = crew.worker(None, &with(&stranger, &[]));
    assert_eq!(other.ends(), Some(78), "{}", other.said());
    assert!(other.said().contains("does not take this worker's certificate"), "{}", other.said());
    until("it is named", || crew.run.said().contains("invalid peer certificate"));
    let mut other = crew.worker(None, &with(&elsewhere, &[]));
    assert_eq!(other.ends(), Some(78), "{}", other.said());
    assert!(other.said().contains("its certificate is none of `--ca`"), "{}", other.said());
    let mut clear = crew.worker(None, &["--patience", "1s"]);
    // Clear bytes end at once, long before the time that a silent caller has.
    let began = Instant::now();
    let mut bytes = TcpStream::connect(&crew.address).unwrap();
    bytes.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    drop(bytes.read_to_end(&mut Vec::new()));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(clear.ends(), Some(75), "{}", clear.said());
    assert!(clear.said().contains("perhaps it asks for certificates"), "{}", clear.said());
    let mut worker = crew.worker(None, &with(&known, &["--once"]));
    assert_eq!(crew.summary()["actions_run"], 12);
    assert_eq!(worker.ends(), Some(0), "{}", worker.said());
    assert_same(&place.tables(), &expected, "over encrypted links");
}

#[test]
fn what_is_sent_over_encrypted_links_is_whole() {
    let place = Workplace::new(3);
    let expected = place.anew();
    let (run, known) = (options("run", "ca.pem"), options("worker", "ca.pem"));
    let mut crew = Crew::start_with(&place, &with(&run, &["--no-local", "--send"]), Some(SECRET));
    let Some(mut worker) = blind(&mut crew, &with(&known, &["--once"])) else { return };
    assert_eq!(crew.summary()["rejected"], 0);
    assert_eq!(worker.ends(), Some(0), "{}", worker.said());
    assert_same(&place.tables(), &expected, "sent over encrypted links");
}

#[test]
fn certificates_come_whole_or_not_at_all() {
    let place = Workplace::new(1);
    let all = options("run", "ca.pem");
    // A key alone, and an address that is none.
    let mut run = command(&place, &["run", "--listen", "127.0.0.1:0"]);
    let output = run.args(&all[2..4]).arg(place.pipeline()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let mut run = command(&place, &["run"]);
    let output = run.args(&all).arg(place.pipeline()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("an address for workers expected"), "{said}");
    // A file that is no certificate.
    let mut run = command(&place, &["run", "--listen", "127.0.0.1:0", "--cert", &all[3], "--key", &all[3]]);
    let output = run.args(&all[4..]).arg(place.pipeline()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("run.key: certificates in PEM expected, none found"), "{said}");
}
