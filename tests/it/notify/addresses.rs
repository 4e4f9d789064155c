//! Receivers within the network around us are refused, whatever they are called.

use kanbu_backup::{
    fault::Classified,
    notify::poster::{Call, Method, Poster},
};

use super::receiver::Receiver;

async fn tried(poster: &Poster, url: &str) -> Result<u16, String> {
    let call = Call {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: Vec::new(),
        body: b"x".to_vec(),
    };
    let answer = poster.send(&call).await;
    answer
        .map(|answer| answer.status)
        .map_err(|error| error.code().to_owned())
}

#[tokio::test]
async fn an_address_around_us_is_refused_by_number_and_by_name() {
    let receiver = Receiver::start([]).await;
    let port = receiver.port;
    let poster = Poster::new(false, Vec::new()).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LOCALHOST",
        "169.254.169.254",
        "10.0.0.1",
        "100.64.0.1",
        "[fd00:ec2::254]",
        "[fe80::1]",
    ] {
        let refused = tried(&poster, &format!("http://{host}:{port}/x")).await;
        assert_eq!(refused, Err("notify.private_address".to_owned()), "{host}");
    }
    assert_eq!(receiver.sent().len(), 0);
    let open = Poster::new(true, Vec::new()).unwrap();
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(
            tried(&open, &format!("http://{host}:{port}/x")).await,
            Ok(200),
            "{host}"
        );
    }
}

#[tokio::test]
async fn a_name_that_nobody_knows_and_a_port_that_nobody_serves_may_come_back() {
    let poster = Poster::new(true, Vec::new()).unwrap();
    for url in ["http://no-such-host.invalid/", "http://127.0.0.1:1/"] {
        assert_eq!(
            tried(&poster, url).await,
            Err("notify.unreachable".to_owned()),
            "{url}"
        );
    }
}
