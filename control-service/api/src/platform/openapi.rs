//! The description of this API.

use axum::Json;
use portcullis_control_contract::calls::Call;
use serde_json::Value;

use super::guard::Routes;
use crate::openapi::openapi;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.on(Call::OpenApi, description)
}

async fn description() -> Json<&'static Value> {
    Json(openapi())
}
