//! What a service does while its database takes nothing, and afterwards. It has a cluster `orders` that is pending.

use reqwest::Method;
use serde_json::json;

use super::{Server, run_in, stdout, until};

/// Changes are refused as they should be where there is no database to write to, and nothing of them is left.
pub(crate) async fn refuses(service: &Server) {
    let body = json!({"id": "late", "tenant": "acme", "placement": "on_premises"});
    let told = service.expect(503, Method::POST, "/v1/clusters", Some(body)).await;
    assert_eq!(told["reason"], "store_unavailable", "{told}");
    let told = service.expect(503, Method::POST, "/v1/clusters/orders/suspend", None).await;
    assert_eq!(told["reason"], "store_unavailable", "{told}");
    let (ready, why) = service.ready().await;
    assert!(!ready && why.contains("database"), "{why}");
    assert_eq!(service.metric("portcullis_store_up").await, 0);
}

/// It goes on by itself.
pub(crate) async fn is_well_again(service: &Server) {
    until("the service is ready again", async || service.ready().await.0).await;
    assert_eq!(service.metric("portcullis_store_up").await, 1);
    assert_eq!(service.state_of("orders").await, "pending", "what was refused was not done");
    service.register("late").await;
    service.expect(200, Method::POST, "/v1/clusters/orders/suspend", None).await;
    let config = service.config();
    let checked = run_in(service.folder.path(), &["store", "check", "--config", config.to_str().unwrap()]);
    assert!(stdout(&checked).contains("everything fits together"));
}
