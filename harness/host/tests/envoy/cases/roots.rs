//! Root contexts: timers, queue notifications, and what they may not do.

use crate::envoy::case::{Case, Sent, Setup};

pub(super) fn cases() -> Vec<Case> {
    vec![
        // Context 1 is the root: a request starts its timer, which stops itself.
        Case::new(
            "tick-of-worker",
            Setup::named("tick-of-worker").plugin(
                "request_headers: effective 1; request_headers: tick_period 30; tick: tick_period 0; \
                 tick: log 2 [tick-of-worker-x]ticked",
            ),
            vec![Sent::get("/")],
        ),
        Case::new(
            "tick-without-stream",
            Setup::named("tick-without-stream").plugin(
                "request_headers: effective 1; request_headers: tick_period 30; tick: tick_period 0; \
                 tick: log 2 [tick-without-stream-x]ticked; tick: reply 403 d b -1; tick: get 0 :path; \
                 tick: body 0 0 9; tick: property request|path; tick: property plugin_root_id; \
                 tick: set_property a b; tick: continue 0; tick: close 0; tick: shared_set ws-tick lived; \
                 tick: log 2 [tick-without-stream-x]lived",
            ),
            vec![Sent::get("/"), Sent::get("/").after(300).script("request_headers: shared_get ws-tick")],
        ),
        Case::new(
            "tick-calls-out",
            Setup::named("tick-calls-out").plugin(
                "request_headers: effective 1; request_headers: tick_period 30; tick: tick_period 0; \
                 tick: call upstream 1000 - :method GET :path / :authority a; \
                 call_response: log 2 [tick-calls-out-x]answered; call_response: reply 500 d b -1",
            ),
            vec![Sent::get("/")],
        ),
        Case::new(
            "queue-tells-the-worker",
            Setup::named("queue-tells").plugin(
                "configure: queue qt; request_headers: enqueue qt job; request_headers: enqueue qt job; \
                 queue_ready: log 2 [queue-tells-the-worker-x]told; queue_ready: shared_swap qt-told x 0",
            ),
            vec![Sent::get("/")],
        ),
        Case::new(
            "queue-survives-a-trap",
            Setup::named("queue-survives")
                .plugin("configure: queue qs")
                .policy(crate::envoy::case::Policy::Reload),
            vec![
                Sent::get("/").after(400).script("request_headers: enqueue qs kept; request_headers: trap"),
                Sent::get("/").after(400).script("request_headers: dequeue qs; request_headers: dequeue qs"),
            ],
        ),
        Case::new(
            "reply-from-root",
            Setup::named("reply-from-root").plugin(""),
            vec![
                Sent::get("/")
                    .impatient()
                    .script("request_headers: effective 1; request_headers: reply 403 d b -1; log: note"),
            ],
        ),
        Case::new(
            "effective-of-nobody",
            Setup::named("effective-of-nobody").plugin(""),
            vec![Sent::get("/").script("request_headers: effective 77; request_headers: get 0 :path")],
        ),
    ]
}
