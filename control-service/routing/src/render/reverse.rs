//! All clusters behind reverse tunnels of Envoy: one way, whatever their number. The tunnel gateway chooses the tunnel by the
//! same header, so that nothing has to be said of a cluster here.

use std::collections::BTreeMap;

use super::ways;
use crate::istio::{CLUSTER_HEADER, Destination, Match, Port, RequestMatch};
use crate::resource::Resource;
use crate::settings::Settings;

/// `left_out`: clusters with a way of their own. Istio does not say in which order it puts ways of several resources, so that
/// this one must not fit theirs.
pub(super) fn render(settings: &Settings, left_out: &[&str]) -> Resource {
    let placed = RequestMatch::default().and(CLUSTER_HEADER, Match::Regex(".+".to_owned()));
    let others = (!left_out.is_empty()).then(|| (CLUSTER_HEADER, Match::Regex(left_out.join("|"))));
    let base = RequestMatch { without_headers: others.into_iter().collect::<BTreeMap<_, _>>(), ..placed };
    let to = || Destination {
        host: settings.tunnel_gateway.host.clone(),
        port: Port { number: settings.tunnel_gateway.port },
        subset: None,
    };
    let streams = vec![
        base.and("content-type", ways::grpc()),
        base.and("accept", ways::events()),
        base.and("upgrade", ways::web_socket()),
    ];
    let http = vec![
        ways::route("streams".to_owned(), streams, to(), false),
        ways::route("requests".to_owned(), vec![base], to(), true),
    ];
    ways::at_gateway(&settings.gateway, "tunnels", None, http).with(
        "annotations",
        "portcullis.dev/lint-ignore",
        "PL601 the tunnel gateway chooses the tunnel by the same header",
    )
}
