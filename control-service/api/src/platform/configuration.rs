//! The configuration in use.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::configuration::RunningConfiguration;
use portcullis_control_services::Current;

use super::guard::Routes;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.on(Call::GetConfiguration, in_use)
}

async fn in_use(
    State(configuration): State<Arc<Current<RunningConfiguration>>>,
) -> Json<RunningConfiguration> {
    Json((*configuration.get()).clone())
}
