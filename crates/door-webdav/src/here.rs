//! Which names this share has: whether a URL in a header means this server or another one.
//!
//! Behind a proxy the `Host` of a request may be a name that only the proxy uses. The name that clients use is then in `Forwarded` (RFC
//! 7239) or `X-Forwarded-Host`, which are accepted only from trusted addresses, or is set by the operator (`webdav-url`).

use std::net::IpAddr;

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, StatusCode, Uri};

use crate::door::DavConfig;
use crate::error::{Refusal, Result};
use crate::path::UrlPath;

/// The authorities (`host` or `host:port`) that name this share in one request, in lower case and without default ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Here(Vec<String>);

impl Here {
    /// From what the request and the operator say. `peer` is the other end of the connection.
    pub(crate) fn of(headers: &HeaderMap, uri: &Uri, peer: IpAddr, config: &DavConfig) -> Self {
        let texts = |name: &str| {
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect::<Vec<_>>()
        };
        let mut names = texts(HOST.as_str());
        names.extend(uri.authority().map(ToString::to_string));
        names.extend(config.url_authority.clone());
        if config.trusted_proxies.iter().any(|range| range.contains(peer)) {
            let ports = texts("x-forwarded-port");
            // Each proxy of a chain may have added its own: all of them are names of this share.
            for host in texts("x-forwarded-host").iter().flat_map(|value| value.split(',')).map(str::trim) {
                names.push(host.to_owned());
                names.extend(ports.iter().map(|port| format!("{host}:{}", port.trim())));
            }
            for element in texts(FORWARDED.as_str()).iter().flat_map(|value| value.split([',', ';'])) {
                let Some((name, value)) = element.split_once('=') else { continue };
                if name.trim().eq_ignore_ascii_case("host") {
                    names.push(value.trim().trim_matches('"').to_owned());
                }
            }
        }
        Self(names.iter().map(|name| plain(name)).collect())
    }

    /// The path of an absolute path, or of a URL of this share. Percent-encoded or raw UTF-8.
    ///
    /// # Errors
    /// 502 if it names another server (RFC 4918 section 9.8.5), 400 if it is neither, or has a query or a fragment: the
    /// name that was meant would be cut short there.
    pub(crate) fn path_of(&self, reference: &str) -> Result<UrlPath> {
        let reference = reference.trim();
        if reference.contains(['?', '#']) {
            return Err(Refusal::bad_request(
                "a URL in the request has a query or a fragment; in a name, write ? as %3F and # as %23; nothing was changed",
            ));
        }
        if reference.starts_with('/') && !reference.starts_with("//") {
            return UrlPath::parse(reference);
        }
        let elsewhere = || {
            Refusal::new(
                StatusCode::BAD_GATEWAY,
                "the other URL of the request is not on this server; nothing was changed; behind a proxy, tell the \
                 server its clients' name for it (webdav-url) or the proxy's address (trusted-proxies)",
            )
        };
        let (scheme, rest) = reference.split_once("://").ok_or_else(elsewhere)?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        if !http || !self.0.contains(&plain(authority)) {
            return Err(elsewhere());
        }
        UrlPath::parse(path)
    }
}

/// Host names without regard to case, default ports left out, user information dropped.
fn plain(authority: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or_default().trim().to_ascii_lowercase();
    host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(&host).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn here(headers: &[(&'static str, &str)], peer: &str, config: &DavConfig) -> Here {
        let headers =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
        Here::of(&headers, &Uri::from_static("/b/x"), peer.parse().unwrap(), config)
    }

    fn direct(host: &str) -> Here {
        here(&[("host", host)], "192.0.2.1", &DavConfig::default())
    }

    fn status(here: &Here, reference: &str) -> u16 {
        here.path_of(reference).map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    #[test]
    fn a_reference_is_a_path_or_a_url_of_this_server() {
        for value in
            ["/b/x%20y", "http://store:8080/b/x%20y", "HTTP://STORE:8080/b/x%20y", "https://me@store:8080/b/x%20y"]
        {
            assert_eq!(direct("store:8080").path_of(value).unwrap().key(), b"/b/x y", "{value}");
        }
        assert!(direct("store").path_of("http://store").unwrap().is_root());
    }

    #[test]
    fn a_name_may_be_raw_utf_8() {
        for value in ["/b/Grüße", "http://store/b/Grüße", "http://store/b/Gr%C3%BC%C3%9Fe"] {
            assert_eq!(direct("store").path_of(value).unwrap().key(), "/b/Grüße".as_bytes(), "{value}");
        }
    }

    #[test]
    fn a_url_elsewhere_is_a_bad_gateway() {
        for value in ["http://other/b/x", "ftp://store/b/x", "http://store:81/b", "//other/x", "x", ""] {
            assert_eq!(status(&direct("store"), value), 502, "{value}");
        }
    }

    #[test]
    fn what_would_cut_a_name_short_is_refused() {
        for value in ["/b/what?", "/b/#1", "http://store/b/x?q", "http://store/b/x#y", "http://store?/b"] {
            assert_eq!(status(&direct("store"), value), 400, "{value}");
        }
    }

    #[test]
    fn a_reference_obeys_the_rules_of_paths() {
        for value in ["/b/../c", "http://store/b/%2e%2e/c", "/b/a%2fb", "/b/%"] {
            assert_eq!(status(&direct("store"), value), 400, "{value}");
        }
    }

    #[test]
    fn names_given_by_a_trusted_proxy_count_and_others_do_not() {
        let config = DavConfig { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..DavConfig::default() };
        let cases: [&[(&'static str, &str)]; 5] = [
            &[("x-forwarded-host", "files.example")],
            &[("x-forwarded-host", "inner, files.example:443")],
            &[("forwarded", "for=192.0.2.60;proto=https;host=files.example, for=10.0.0.1")],
            &[("forwarded", "proto=https;Host=\"files.example:443\"")],
            &[("host", "files.example")],
        ];
        for headers in cases {
            let headers = [&[("host", "127.0.0.1:9001")], headers].concat();
            assert_eq!(status(&here(&headers, "10.1.2.3", &config), "https://files.example/b/x"), 200, "{headers:?}");
        }
        let forged = [("host", "127.0.0.1:9001"), ("x-forwarded-host", "files.example")];
        assert_eq!(status(&here(&forged, "192.0.2.9", &config), "https://files.example/b/x"), 502);
        let port = [("x-forwarded-host", "files.example"), ("x-forwarded-port", "8443")];
        assert_eq!(status(&here(&port, "10.1.2.3", &config), "https://files.example:8443/b/x"), 200);
    }

    #[test]
    fn the_operator_may_name_the_share() {
        let config = DavConfig { url_authority: Some("Files.Example:443".into()), ..DavConfig::default() };
        let here = here(&[("host", "127.0.0.1:9001")], "192.0.2.9", &config);
        assert_eq!(status(&here, "https://files.example/b/x"), 200);
    }

    proptest! {
        #[test]
        fn a_reference_names_this_server_only_with_one_of_its_names(text in "[a-zé:/@%0-9.?#\\[\\]-]{0,40}") {
            if let Ok(path) = direct("store").path_of(&text) {
                prop_assert!(text.trim().starts_with('/') || text.to_ascii_lowercase().contains("store"));
                prop_assert!(path.names().all(|name| !name.is_empty() && name != b".."));
            }
        }
    }
}
