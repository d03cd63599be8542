//! Lists that come in pages: `Link: <URL>; rel="next"` (RFC 8288; distribution-spec "Listing Tags", "Listing
//! Referrers").

use reqwest::{
    Url,
    header::{HeaderMap, LINK},
};

/// Where a list goes on, relative to the page `of`, below `/v2/`. It may be at another host, which gets no
/// credentials.
pub(crate) fn next_page(of: &str, headers: &HeaderMap) -> Option<String> {
    let base: Url = "http://registry.invalid/v2/".parse().ok()?;
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let target = links.flat_map(|text| text.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let relation = parameter.trim().strip_prefix("rel=").map(|value| value.trim_matches('"'));
            relation.is_some_and(|relation| relation.split(' ').any(|one| one.eq_ignore_ascii_case("next")))
        });
        is_next.then_some(target)
    })?;
    let next = base.join(of).ok()?.join(target).ok()?;
    match next.origin() == base.origin() {
        true => Some(next[url::Position::BeforePath..].to_owned()),
        false => Some(next.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_one() {
        let page = "team/app/referrers/sha256:00";
        for (links, expected) in [
            (&[][..], None),
            (
                &["</v2/team/app/referrers/sha256:00?n=2>; rel=\"next\""],
                Some("/v2/team/app/referrers/sha256:00?n=2"),
            ),
            (&["<?n=2>; rel=next"], Some("/v2/team/app/referrers/sha256:00?n=2")),
            (&["<first>; rel=\"prev\", <other>; rel=\"next last\""], Some("/v2/team/app/referrers/other")),
            (
                &["<first>; rel=\"prev\"", "<https://other.example/x?y>; rel=\"next\""],
                Some("https://other.example/x?y"),
            ),
            (&["not a link", "</x>; rel=\"nextish\""], None),
        ] {
            let headers = HeaderMap::from_iter(links.iter().map(|link| (LINK, link.parse().unwrap())));
            assert_eq!(next_page(page, &headers).as_deref(), expected, "{links:?}");
        }
    }
}
