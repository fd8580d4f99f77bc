//! Buckets as host names: `bucket.domain` for the configured domains; every other host is path-style.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

use crate::config::S3ConfigError;

/// The domains below which a label names a bucket, in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains(Vec<String>);

impl Domains {
    /// # Errors
    /// [`S3ConfigError::Domains`] for names that are none, or where one lies below another.
    pub(crate) fn new(domains: &[String]) -> Result<Self, S3ConfigError> {
        let domains: Vec<String> = domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
        let label = |label: &str| !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let valid = domains.iter().all(|domain| domain.split('.').all(label));
        let below = |a: &str, b: &str| a == b || a.strip_suffix(b).is_some_and(|rest| rest.ends_with('.'));
        let apart =
            domains.iter().enumerate().all(|(i, a)| domains.iter().enumerate().all(|(j, b)| i == j || !below(a, b)));
        if valid && apart { Ok(Self(domains)) } else { Err(S3ConfigError::Domains(domains)) }
    }

    /// The bucket a `Host` header names, if any. Hosts outside the domains name none.
    pub(crate) fn bucket(&self, host: &str) -> Option<String> {
        let name = without_port(host).to_ascii_lowercase();
        let bucket = self.0.iter().find_map(|domain| name.strip_suffix(domain.as_str())?.strip_suffix('.'))?;
        (!bucket.is_empty()).then(|| bucket.to_owned())
    }

    /// What would be the bucket in a `Host` header that no domain covers, if its client took this server for one that
    /// knows its name: every start of it that ends before a dot.
    pub(crate) fn perhaps_buckets<'a>(&self, host: &'a str) -> impl Iterator<Item = &'a str> {
        let name = without_port(host);
        let covered = self.0.iter().any(|domain| name.eq_ignore_ascii_case(domain)) || self.bucket(host).is_some();
        let is_name = !covered && name.parse::<std::net::IpAddr>().is_err() && !name.starts_with('[');
        name.match_indices('.').map(|(at, _)| &name[..at]).filter(move |start| is_name && !start.is_empty())
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    }
}

impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let plain = VirtualHost::new(host);
        Ok(match self.bucket(host) {
            Some(bucket) => plain.with_bucket(bucket),
            None => plain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(names: &[&str]) -> Result<Domains, S3ConfigError> {
        Domains::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_label_before_the_domain_is_the_bucket() {
        let domains = domains(&["s3.example.com", "store.lan"]).unwrap();
        for (host, bucket) in [
            ("photos.s3.example.com", Some("photos")),
            ("Photos.S3.example.com:9000", Some("photos")),
            ("my.photos.store.lan", Some("my.photos")),
            ("s3.example.com", None),
            ("localhost:9000", None),
            ("127.0.0.1", None),
            ("[::1]:9000", None),
            ("photos.other.com", None),
            ("xs3.example.com", None),
        ] {
            assert_eq!(domains.bucket(host).as_deref(), bucket, "{host}");
        }
    }

    #[test]
    fn a_host_outside_the_domains_may_still_start_with_a_bucket() {
        let domains = domains(&["s3.example.com"]).unwrap();
        let perhaps = |host| domains.perhaps_buckets(host).collect::<Vec<_>>();
        assert_eq!(perhaps("my.photos.lan:9000"), ["my", "my.photos"]);
        for host in
            ["s3.example.com", "photos.s3.example.com", "localhost:9000", "127.0.0.1:9000", "[::1]:9000", ".lan"]
        {
            assert!(perhaps(host).is_empty(), "{host}");
        }
    }

    #[test]
    fn domains_must_be_names_and_lie_apart() {
        for bad in [&[""][..], &["a..b"], &["a b"], &["a.com:80"], &["a.com", "a.com"], &["a.com", "x.a.com"]] {
            assert!(domains(bad).is_err(), "{bad:?}");
        }
        assert!(domains(&["a.com", "ba.com"]).is_ok());
    }
}
