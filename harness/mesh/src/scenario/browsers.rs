//! Pages of other origins: preflights, answers, refusals.

use hyper::Method;

use super::{Expect, SELECTOR, Scenario};
use crate::control::TENANT_CONSOLE;
use crate::error::Result;
use crate::http::{Request, Response};
use crate::sample::{HOSTED, ONPREM};

/// The console of the platform, as `overlays/local` names it.
pub(super) const CONSOLE: &str = "https://console.alfred-platform.example.com";

/// A page of somebody else.
const ELSEWHERE: &str = "https://elsewhere.example";

impl Scenario<'_> {
    pub(super) async fn browsers(&mut self) -> Result<()> {
        for (what, origin, cluster) in [
            ("preflight of the platform's console", CONSOLE, HOSTED),
            ("the same for no cluster there is", CONSOLE, "no-such"),
            ("preflight of a tenant's console", TENANT_CONSOLE, ONPREM),
        ] {
            let answer = self.preflight(origin, cluster).send().await?;
            self.told_page(what, (204, origin), &answer);
        }
        let refused = Expect::Refused(403, "preflight_refused");
        let preflight = self.preflight(ELSEWHERE, HOSTED);
        self.expect("browser", "cross-origin preflight", preflight, refused).await;
        for (what, origin, request, told) in [
            ("answer to the platform's console", CONSOLE, self.human_request()?, (200, CONSOLE)),
            ("answer to somebody else's page", ELSEWHERE, self.human_request()?, (200, "")),
            ("refusal to the platform's console", CONSOLE, self.to(HOSTED), (401, CONSOLE)),
            ("answer of a cluster with its own policy", CONSOLE, self.own_cluster()?, (200, "")),
            ("the same to the tenant's console", TENANT_CONSOLE, self.own_cluster()?, (200, TENANT_CONSOLE)),
        ] {
            let answer = request.header("origin", origin).send().await?;
            self.told_page(what, told, &answer);
        }
        Ok(())
    }

    fn own_cluster(&self) -> Result<Request> {
        Ok(self.to(ONPREM).bearer(&self.human()?))
    }

    fn preflight(&self, origin: &str, cluster: &str) -> Request {
        Request::new(Method::OPTIONS, self.mesh.plan().ingress(), "/tables")
            .header(SELECTOR, cluster)
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization,x-target-cluster")
    }

    /// Notes whether a page may use an answer.
    pub(super) fn told_page(&mut self, what: &str, (status, origin): (u16, &str), answer: &Response) {
        let allowed = answer.header("access-control-allow-origin");
        let vary = answer.headers.get_all("vary").iter().any(|value| value.as_bytes() == b"origin");
        let ok = answer.status == status && allowed == origin && vary;
        let expected = if origin.is_empty() {
            format!("{status}, for no page")
        } else {
            format!("{status}, for the page")
        };
        let outcome = if ok { Ok(()) } else { Err(format!("{} {:?}", answer.status, answer.headers)) };
        self.outcome("browser", what, &expected, outcome, answer.elapsed);
    }
}
