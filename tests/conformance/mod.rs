mod rows;

use larder::{
    feature::*,
    store::{embedded::*, *},
};
use rows::*;

#[tokio::test]
async fn smoke() {
    for dir in [None, Some(tempfile::tempdir().unwrap())] {
        let g = group(1, &[Dtype::Float64, Dtype::String]);
        let rows: Vec<Row> = (0..1000)
            .map(|i| Row {
                key: format!("user_{}", i % 100),
                event: 1_000_000 * i,
                cells: vec![Cell::Value(Value::Float64(i as f64)), Cell::Null],
            })
            .collect();
        let open = || {
            match &dir {
                None => EmbeddedStore::in_memory(Options::default()),
                Some(dir) => EmbeddedStore::open(dir.path(), Options::default()),
            }
            .unwrap()
        };
        let mut store = open();
        let r = write(&store, vec![batch(&g, &rows)]).await;
        assert!(r.unchanged[0].is_none());
        for step in 0..4 {
            if step == 1 {
                store.flush().await.unwrap();
            }
            if step == 2 && dir.is_some() {
                drop(store);
                store = open();
            }
            if step == 3 {
                let r = write(&store, vec![batch(&g, &rows)]).await;
                assert_eq!(r.unchanged[0].as_ref().unwrap().count_set_bits(), 1000);
            }
            let l = store
                .latest(LatestRead { entity_type: USER, groups: &[g.clone()], keys: &["user_5", "nobody"] })
                .await
                .unwrap();
            assert_eq!(cells(l[0].as_ref().unwrap(), &g)[0], Cell::Value(Value::Float64(905.0)));
            assert!(l[1].is_none());
            let s = store.snapshot(&[g.clone()]).await.unwrap();
            let p = s
                .as_of(AsOf {
                    reads: vec![GroupRead { group: g.clone(), columns: vec![1, 0] }],
                    keys: vec!["user_7", "x", "user_3"].into(),
                    times: vec![500_000_000i64, 1, 3_000_000].into(),
                    known_at: KnownAt::Snapshot,
                })
                .await
                .unwrap();
            assert_eq!(&p[0].event_timestamps[..], &[407_000_000, NO_ROW, 3_000_000]);
            assert_eq!(p[0].columns[1].cell(0, Dtype::Float64), Cell::Value(Value::Float64(407.0)));
            assert_eq!(p[0].columns[0].cell(0, Dtype::String), Cell::Null);
            assert_eq!(p[0].columns[0].cell(1, Dtype::String), Cell::LeftOut);
            let rows = s
                .scan(Scan {
                    group: g.clone(),
                    key: "user_7".into(),
                    from: Timestamp::MIN,
                    to: Timestamp::MAX,
                    after: None,
                    limit: 100,
                })
                .await
                .unwrap();
            assert_eq!(rows.len(), 10);
        }
    }
}
