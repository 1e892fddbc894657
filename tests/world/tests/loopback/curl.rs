//! A client that was not written here. Where there is no curl, these tests say so and end.

use std::process::{Command, Output, Stdio};

use proxywhirl_world::{Hosts, Origin, Protocol, TestCa, Upstream, UpstreamOptions, pattern};

struct Scene {
    origin: Origin,
    ca: TestCa,
    hosts: Hosts,
    ca_file: std::path::PathBuf,
}

impl Scene {
    /// None where there is no curl.
    #[expect(clippy::print_stderr, reason = "a test that shows nothing has to say so")]
    async fn new(name: &str) -> Option<Self> {
        if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: no curl on this machine");
            return None;
        }
        let ca = TestCa::new().unwrap();
        let origin = Origin::start(&ca).await.unwrap();
        let hosts = Hosts::new().with_port("origin.test", 80, origin.http_addr()).with_port(
            "origin.test",
            443,
            origin.https_addr().unwrap(),
        );
        let ca_file = std::env::temp_dir().join(format!("proxywhirl-world-{}-{name}.pem", std::process::id()));
        std::fs::write(&ca_file, ca.ca_pem()).unwrap();
        Some(Self { origin, ca, hosts, ca_file })
    }

    async fn upstream(&self, protocol: Protocol) -> Upstream {
        let options = UpstreamOptions::new(protocol)
            .hosts(self.hosts.clone())
            .credentials("user", "pass:word")
            .tls(self.ca.server_config(&[]).unwrap());
        Upstream::start(options).await.unwrap()
    }

    async fn curl(&self, args: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", ""])
            .arg("--cacert")
            .arg(&self.ca_file)
            .arg("--proxy-cacert")
            .arg(&self.ca_file)
            .args(args);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn text(&self, args: &[&str]) -> String {
        let output = self.curl(args).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        std::fs::remove_file(&self.ca_file).ok();
    }
}

#[tokio::test]
async fn curl_reaches_both_origins_through_each_protocol() {
    let Some(scene) = Scene::new("each").await else { return };
    for protocol in Protocol::ALL {
        let upstream = scene.upstream(protocol).await;
        let proxy = upstream.url();
        let urls = match protocol {
            // These resolve on the client's side, which knows no origin.test.
            Protocol::Socks4 | Protocol::Socks5 => {
                [scene.origin.http_url("/ip"), scene.origin.https_url("/ip").unwrap()]
            }
            Protocol::Http | Protocol::Https | Protocol::Socks4a | Protocol::Socks5h => {
                ["http://origin.test/ip".to_owned(), "https://origin.test/ip".to_owned()]
            }
        };
        for url in &urls {
            assert_eq!(scene.text(&["--proxy", &proxy, url]).await, "127.0.0.1\n");
        }
        assert_eq!(upstream.counters().requests(), 2, "{:?}", upstream.seen());
        assert_eq!(upstream.counters().auth_failures, 0);
    }
}

#[tokio::test]
async fn curl_without_the_right_credentials_gets_nowhere() {
    let Some(scene) = Scene::new("auth").await else { return };
    for protocol in Protocol::ALL {
        let upstream = scene.upstream(protocol).await;
        let url = scene.origin.http_url("/ip");
        let open = format!("{protocol}://{}", upstream.addr());
        let wrong = format!("{protocol}://wrong:wrong@{}", upstream.addr());
        for proxy in [open, wrong] {
            assert!(!scene.curl(&["--proxy", &proxy, &url]).await.status.success());
        }
        assert_eq!(upstream.counters().auth_failures, 2, "{protocol}");
    }
    assert_eq!(scene.origin.requests(), 0);
}

#[tokio::test]
async fn curl_downloads_and_uploads_whole_bodies() {
    let Some(scene) = Scene::new("bodies").await else { return };
    let file = scene.ca_file.with_extension("bin");
    std::fs::write(&file, pattern(0, 3_000_000)).unwrap();
    let from_file = format!("@{}", file.display());
    for protocol in [Protocol::Http, Protocol::Https, Protocol::Socks5h] {
        let upstream = scene.upstream(protocol).await;
        let proxy = upstream.url();
        for url in ["http://origin.test", "https://origin.test"] {
            for path in ["bytes", "chunked"] {
                let url = format!("{url}/{path}/3000000");
                let output = scene.curl(&["--proxy", &proxy, &url]).await;
                assert!(output.stdout == pattern(0, 3_000_000), "{url} through {protocol}");
            }
            let url = format!("{url}/upload");
            for framing in ["Expect: 100-continue", "Transfer-Encoding: chunked"] {
                let args = ["--proxy", &proxy, "--data-binary", &from_file, "-H", framing, &url];
                assert!(scene.text(&args).await.starts_with(r#"{"length":3000000,"#));
            }
        }
    }
    std::fs::remove_file(&file).unwrap();
}
