//! The proxies that the environment names, and whom they are not for.

use super::invalid;
use crate::env;
use std::io;
use std::net::IpAddr;
use url::{Host, Url};

/// Which proxy to take.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<String>,
    https: Option<String>,
    /// The list of those who are reached without one.
    none: String,
}

impl Proxies {
    pub(super) fn from_env() -> Proxies {
        let all = env::ALL_PROXY.text_of_either_case();
        Proxies {
            http: env::HTTP_PROXY.text_of_either_case().or_else(|| all.clone()),
            https: env::HTTPS_PROXY.text_of_either_case().or(all),
            none: env::NO_PROXY.text_of_either_case().unwrap_or_default(),
        }
    }

    /// The proxy for an address, if it has one.
    ///
    /// # Errors
    /// What is named is no proxy that we could speak to.
    pub(super) fn of(&self, url: &Url) -> io::Result<Option<Url>> {
        let named = if url.scheme() == "https" { &self.https } else { &self.http };
        let (Some(named), Some(host)) = (named, url.host()) else { return Ok(None) };
        if self.none.split(',').any(|entry| covers(entry.trim(), &host)) {
            return Ok(None);
        }
        let named = if named.contains("://") { named.clone() } else { format!("http://{named}") };
        match Url::parse(&named) {
            Ok(proxy) if matches!(proxy.scheme(), "http" | "https") => Ok(Some(proxy)),
            Ok(proxy) => Err(invalid(format!("a proxy that speaks `{}` cannot be used", proxy.scheme()))),
            Err(error) => Err(invalid(format!("the address of the proxy is none: {error}"))),
        }
    }
}

/// Whether an entry of the list means this host: `*`, an address, a network (`10.0.0.0/8`), or a domain with all below.
fn covers(entry: &str, host: &Host<&str>) -> bool {
    let ip = match host {
        Host::Domain(domain) => {
            let entry = entry.trim_start_matches('.').to_ascii_lowercase();
            let above = domain.strip_suffix(&entry);
            return entry == "*"
                || !entry.is_empty() && above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        }
        Host::Ipv4(ip) => IpAddr::V4(*ip),
        Host::Ipv6(ip) => IpAddr::V6(*ip),
    };
    let (network, length) = match entry.split_once('/') {
        Some((network, length)) => (network, length.parse().ok()),
        None => (entry, Some(128)),
    };
    entry == "*"
        || network.parse().is_ok_and(|network| length.is_some_and(|length| is_within(ip, network, length)))
}

/// Whether the first `length` bits are the same; all of them, if they are fewer.
fn is_within(ip: IpAddr, network: IpAddr, length: u32) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (ip.to_bits() ^ network.to_bits()).leading_zeros() >= length.min(u32::BITS)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            (ip.to_bits() ^ network.to_bits()).leading_zeros() >= length.min(u128::BITS)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("*", "http://any.org/", true)]
    #[case("b.org", "http://b.org/", true)]
    #[case("b.org", "http://A.B.org/", true)]
    #[case(".B.org", "http://a.b.org/", true)]
    #[case("b.org", "http://ab.org/", false)]
    #[case("", "http://b.org/", false)]
    #[case("10.0.0.1", "http://10.0.0.1/", true)]
    #[case("10.0.0.1", "http://10.0.0.11/", false)]
    #[case("10.0.0.0/8", "http://10.1.2.3/", true)]
    #[case("10.0.0.0/8", "http://11.1.2.3/", false)]
    #[case("0.0.0.0/0", "http://11.1.2.3/", true)]
    #[case("10.0.0.0/x", "http://10.0.0.0/", false)]
    #[case("::1", "http://[::1]/", true)]
    #[case("fd00::/8", "http://[fd12::3]/", true)]
    #[case("fd00::/8", "http://10.0.0.1/", false)]
    fn entries_cover_hosts_networks_and_domains(
        #[case] entry: &str,
        #[case] url: &str,
        #[case] expect: bool,
    ) {
        let url = Url::parse(url).unwrap();
        assert_eq!(covers(entry, &url.host().unwrap()), expect);
    }

    #[rstest]
    #[case("http://x.org/", Ok(Some("http://a:1/")))]
    #[case("https://x.org/", Ok(Some("https://b:2/")))]
    #[case("http://not.for.it/", Ok(None))]
    fn each_scheme_has_its_proxy(#[case] url: &str, #[case] expect: Result<Option<&str>, &str>) {
        let proxies = Proxies {
            http: Some("a:1".into()),
            https: Some("https://b:2".into()),
            none: "one, for.it".into(),
        };
        let found = proxies.of(&Url::parse(url).unwrap()).map_err(|error| error.to_string());
        assert_eq!(found, expect.map(|url| url.map(|url| Url::parse(url).unwrap())).map_err(str::to_owned));
    }

    #[rstest]
    #[case("socks5://a:1", "a proxy that speaks `socks5` cannot be used")]
    #[case("http://", "the address of the proxy is none: empty host")]
    fn what_is_no_proxy_is_refused_and_not_passed_by(#[case] named: &str, #[case] expect: &str) {
        let proxies = Proxies { http: Some(named.into()), ..Proxies::default() };
        let error = proxies.of(&Url::parse("http://x.org").unwrap()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::InvalidInput, expect));
    }
}
