//! Who calls.

use axum::Json;
use axum::extract::Extension;
use portcullis_control_contract::callers::WhoAmI;
use portcullis_control_contract::calls::Call;
use portcullis_control_domain::caller::Caller;

use super::guard::Routes;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.on(Call::WhoAmI, who_am_i)
}

async fn who_am_i(Extension(caller): Extension<Caller>) -> Json<WhoAmI> {
    Json(caller.into())
}
