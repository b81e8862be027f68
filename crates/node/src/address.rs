//! The address under which a part identifies itself to others, in messages for people.

use std::net::IpAddr;
use std::sync::Arc;

/// Returns the URL from the settings, else the URL that is listened on. If that stands for any address of the host, the name of the host
/// replaces it.
pub fn announced_address(set: Option<&str>, listened: &str) -> Arc<str> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    set.map_or_else(|| with_host(listened, host.trim()), Into::into)
}

fn with_host(url: &str, host: &str) -> Arc<str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.into();
    };
    let Some((listened, port)) = rest.rsplit_once(':') else {
        return url.into();
    };
    let bare = listened.trim_start_matches('[').trim_end_matches(']');
    let is_any = bare
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified());
    if is_any && !host.is_empty() {
        format!("{scheme}://{host}:{port}").into()
    } else {
        url.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_means_every_interface_is_told_by_the_name_of_the_host() {
        assert_eq!(
            &*with_host("https://0.0.0.0:4444", "one"),
            "https://one:4444"
        );
        assert_eq!(&*with_host("https://[::]:4444", "one"), "https://one:4444");
        assert_eq!(
            &*with_host("http://127.0.0.1:4444", "one"),
            "http://127.0.0.1:4444"
        );
        assert_eq!(
            &*announced_address(Some("https://two:1"), "https://0.0.0.0:4444"),
            "https://two:1"
        );
    }
}
