//! What is taken, and what is refused.

use super::*;

#[test]
fn messages_are_completed_or_refused() {
    for (text, expected) in [
        (
            r#"{"type":"temperature","sensor":"a","time":"2026-01-01T00:00:00.0009Z","value":1,"quality":"good"}"#,
            Ok(1),
        ),
        (r#"{"type":"temperature","value":20.5}"#, Ok(1)),
        (r#"[]"#, Ok(0)),
        (
            r#"[{"type":"temperature","value":1,"sensor":"a\u0041\n"}]"#,
            Err("`sensor` must have 1 to 64"),
        ),
        (
            r#"[{"type":"temperature","seq":1,"late":true,"value":1,"sensor":"\u00e4 b","new":[{}]},{"type":"humidity","value":2}]"#,
            Ok(2),
        ),
        (r#"{"type":"tomorrow","value":"high","sensor":7,"time":[]}"#, Ok(1)),
        (r#"{"type":"temperature","sensor":"a"}"#, Err("no `value`")),
        (r#"{"type":"temperature","sensor":7,"value":1}"#, Err("not of the wire")),
        (r#"{"type":"temperature","value":20.5,"time":5}"#, Err("not of the wire")),
        (
            r#"[{"type":"tomorrow","seq":3,"x":[1]},{"type":"dropped","seq":4,"from":1,"to":2,"reason":"spool-full"}]"#,
            Ok(2),
        ),
        (r#"{"type":"temperature"}"#, Err("not of the wire")),
        (r#"{"value":1}"#, Err("not of the wire")),
        ("[1]", Err("not of the wire")),
        ("{", Err("not of the wire")),
        (
            r#"{"type":"fault","sensor":"a","time":"noon","reason":"stale"}"#,
            Err("`time` must be a time"),
        ),
        (
            r#"{"type":"fault","sensor":"","time":"2026-01-01T00:00:00Z","reason":"stale"}"#,
            Err("`sensor` must have 1 to 64"),
        ),
        (
            r#"{"type":"temperature","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"fine"}"#,
            Err("one of good, uncertain"),
        ),
        (
            r#"{"type":"fault","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
            Err("missing field `reason`"),
        ),
        (
            r#"{"type":"alarm","alarm":"a","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good","severity":"info"}"#,
            Err("missing field `state`"),
        ),
        (
            r#"{"type":"sensor","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
            Err("missing field `id`"),
        ),
        (
            r#"{"type":"clock","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
            Err("missing field `synchronized`"),
        ),
        (
            r#"{"type":"clock","time":"2026-01-01T00:00:00Z","synchronized":true,"step_secs":1e999}"#,
            Err("number out of range"),
        ),
        (
            r#"{"type":"dropped","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
            Err("missing field `from`"),
        ),
        (
            r#"{"type":"health","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
            Err("missing field `uptime_secs`"),
        ),
        (
            r#"{"type":"result","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
            Err("missing field `id`"),
        ),
        (
            r#"{"type":"sensor","id":"28-a","state":"found","time":"2026-01-01T00:00:00Z","clock":""}"#,
            Err("`clock` must have 1 to 64"),
        ),
    ] {
        let both = [Texts::Needed, Texts::NotNeeded].map(|texts| {
            let told = receive(text, texts)?;
            Ok::<_, String>(told.iter().map(Received::retell).collect::<Vec<_>>())
        });
        assert!(both[0].is_ok() == both[1].is_ok(), "{text}: {both:?}");
        match (receive(text, Texts::Needed), expected) {
            (Ok(messages), Ok(count)) => assert_eq!(messages.len(), count, "{text}"),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{text}: {why}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }
    let doubted = r#"{"type":"temperature","value":1,"quality":"uncertain"}"#;
    let doubted = receive(doubted, Texts::Needed).unwrap();
    assert!(
        matches!(&doubted[0].said, Said::Measured(Measured { quality, .. }) if *quality == Quality::Uncertain)
    );
    let plain = receive(r#"{"type":"temperature","value":20.5}"#, Texts::Needed).unwrap();
    let [plain] = &plain[..] else { panic!() };
    let told: serde_json::Value = serde_json::from_str(&plain.retell().unwrap()).unwrap();
    assert_eq!(
        (&told["sensor"], &told["value"], &told["quality"]),
        (&"temperature".into(), &20.5.into(), &"good".into())
    );
}
