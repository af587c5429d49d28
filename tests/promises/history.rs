//! Values over time: bounds, pages, refusals.

use super::{
    records::{Row, int},
    via::{Moment, each, expect},
};
use serde_json::json;

#[tokio::test]
async fn pages_follow_the_order() {
    each(async |_, via| {
        via.register(json!({"features": [{"name": "n", "entity_type": "user", "dtype": "int64"}]}))
            .await
            .unwrap();
        // Out of order, with corrections; the order is (event timestamp, created, position).
        for (second, value) in [(3, 30), (1, 10), (2, 20), (1, 11), (3, 31), (1, 10)] {
            via.write(&[Row::new("u", f64::from(second), &[("n", int(value))])]).await.unwrap();
        }
        let all: Vec<Moment> = [(1, 10), (1, 11), (1, 10), (2, 20), (3, 30), (3, 31)]
            .map(|(second, value)| (f64::from(second), Ok(int(value))))
            .to_vec();
        assert_eq!(via.history("n", &[("entity_id", "u")]).await.unwrap(), (all.clone(), String::new()));
        for size in ["1", "2", "5", "6"] {
            let (mut paged, mut token) = (Vec::new(), String::new());
            loop {
                let query = [("entity_id", "u"), ("page_size", size), ("page_token", &token)];
                let query = if token.is_empty() { &query[..2] } else { &query[..] };
                let (page, next) = via.history("n", query).await.unwrap();
                assert!(page.len() <= size.parse().unwrap());
                paged.extend(page);
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(paged, all, "in pages of {size}");
        }
        let time = |second: u32| format!("1970-01-01T00:00:{second:02}Z");
        let between = [("entity_id", "u"), ("from", &time(1)), ("to", &time(3))];
        assert_eq!(via.history("n", &between).await.unwrap().0, all[..4]);
        let after = [("entity_id", "u"), ("from", "1970-01-01T00:00:01.000001Z")];
        assert_eq!(via.history("n", &after).await.unwrap().0, all[3..]);
        assert!(via.history("n", &[("entity_id", "absent")]).await.unwrap().0.is_empty());
    })
    .await;
}

/// A feature, a query, and the field that is wrong with it.
type Bad<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test]
async fn bad_questions_name_their_field() {
    each(async |_, via| {
        let request = json!({
            "entity_types": [{"name": "pair", "keys": ["user", "merchant"]}],
            "features": [{"name": "n", "entity_type": "user", "dtype": "int64"},
                         {"name": "v", "entity_type": "pair", "dtype": "int64"}]});
        via.register(request).await.unwrap();
        via.write(&[Row::new("u", 1.0, &[("n", int(1))]), Row::new("u", 2.0, &[("n", int(2))])])
            .await
            .unwrap();
        let (one, two) = ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z");
        let bad: [Bad<'_>; 10] = [
            ("n", &[], "entity_id"),
            ("n", &[("entity_id", "u"), ("user", "u")], "entities"),
            ("n", &[("shop", "u")], "entities.shop"),
            ("v", &[("entity_id", "u")], "entity_id"),
            ("v", &[("user", "u")], "entities"),
            ("n", &[("entity_id", "u"), ("from", two), ("to", one)], "from"),
            ("n", &[("entity_id", "u"), ("from", one), ("to", one)], "from"),
            ("n", &[("entity_id", "u"), ("page_size", "-1")], "page_size"),
            ("n", &[("entity_id", "u"), ("page_size", "1001")], "page_size"),
            ("n", &[("entity_id", "u"), ("page_token", "forged")], "page_token"),
        ];
        for (feature, query, field) in bad {
            expect(via.history(feature, query).await, "invalid-argument", field);
        }
        expect(via.history("nope", &[("entity_id", "u")]).await, "not-found", "feature");
        // A token is good for its own question alone.
        let (_, token) = via.history("n", &[("entity_id", "u"), ("page_size", "1")]).await.unwrap();
        let other = [("entity_id", "v"), ("page_size", "1"), ("page_token", &token)];
        expect(via.history("n", &other).await, "invalid-argument", "page_token");
    })
    .await;
}
