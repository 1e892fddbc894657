//! A proxy's URL, a host, a CONNECT target: what is read survives being written, and the password is never shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_core::member::MemberId;
use proxywhirl_core::{Endpoint, Host};
use proxywhirl_net::{Target, connect, socks4, socks5};

fuzz_target!(|text: &str| {
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        let again: Endpoint = endpoint.to_url().parse().expect("what is written is read");
        assert_eq!(endpoint, again);
        assert_eq!(MemberId::of(&endpoint.key()), MemberId::of(&again.key()));
        if let Some(credentials) = &endpoint.credentials {
            assert!(endpoint.to_string().contains(":***@"));
            assert!(!connect::basic(credentials).expose().contains(['\r', '\n']));
            match socks5::encode_password(credentials) {
                Ok(bytes) => assert!(bytes.len() <= 3 + 255 + 255),
                Err(_) => assert!(endpoint.scheme.is_http() || endpoint.is_template()),
            }
        }
    }
    if let Ok(host) = text.parse::<Host>() {
        assert_eq!(host.to_string().parse::<Host>().as_ref(), Ok(&host));
    }
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(&target));
        let request = connect::encode_request(&target, None);
        assert!(request.ends_with(b"\r\n\r\n"));
        assert_eq!(request.windows(2).filter(|pair| pair == b"\r\n").count(), 3, "a line of its own was smuggled in");
        assert!(socks5::encode_request(&target).len() <= 4 + 1 + 255 + 2);
        drop(socks4::encode_request(&target, None));
    }
});
