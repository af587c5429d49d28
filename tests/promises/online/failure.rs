//! A store that cannot be read in part: a status on cells, not a failed call.

use super::{
    HandClock, NOW,
    ask::{Ask, cell, present},
};
use async_trait::async_trait;
use larder::{
    app::{App, Storage},
    config::Config,
    feature::{RowId, RowSchema, Timestamp},
    store::{
        Commit, Commits, Committed, DurableStore, EntityRows, LatestRead, LatestReads, Result, Snapshot,
        StoreError, Views,
    },
};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};

/// The embedded store, but for one entity type whose disk is gone.
struct HalfBroken {
    whole: Arc<dyn DurableStore>,
    /// The entity type with this many groups asked is the broken one.
    groups_broken: usize,
}

impl DurableStore for HalfBroken {}

#[async_trait]
impl Commits for HalfBroken {
    async fn commit(&self, commit: Commit) -> Result<Committed> {
        self.whole.commit(commit).await
    }

    fn retention_bound(&self) -> Option<Timestamp> {
        self.whole.retention_bound()
    }
}

#[async_trait]
impl LatestReads for HalfBroken {
    async fn latest(&self, read: LatestRead<'_>) -> Result<Vec<EntityRows>> {
        match read.groups.len() == self.groups_broken {
            true => Err(gone()),
            false => self.whole.latest(read).await,
        }
    }
}

#[async_trait]
impl Views for HalfBroken {
    async fn snapshot(&self, groups: &[Arc<RowSchema>]) -> Result<Arc<dyn Snapshot>> {
        match groups.len() == self.groups_broken {
            true => Err(gone()),
            false => self.whole.snapshot(groups).await,
        }
    }

    async fn last_written(&self, groups: &[RowId]) -> Result<Vec<Option<Timestamp>>> {
        self.whole.last_written(groups).await
    }
}

fn gone() -> StoreError {
    StoreError::unavailable("read the store", "the disk is gone")
}

async fn server() -> crate::support::TestApp {
    let clock = HandClock::at(NOW).clock();
    let config =
        Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), in_memory: true, ..Config::default() };
    let storage = Storage::embedded(&config, &clock).unwrap();
    let durable = Arc::new(HalfBroken { whole: storage.durable, groups_broken: 2 });
    let app = App::build_on(&config, Storage { durable, ..storage }, clock, None).await.unwrap();
    let app = crate::support::TestApp::over(app);
    let features = json!([
        {"name": "country", "entity_type": "user", "dtype": "string", "default": "unknown"},
        {"name": "sector", "entity_type": "merchant", "dtype": "string", "default": "unknown"},
        {"name": "turnover", "entity_type": "merchant", "dtype": "float64"},
    ]);
    super::register(&app, features).await;
    super::write(&app, "u", NOW, json!({"country": "GB"})).await;
    app
}

#[tokio::test]
async fn cells_that_could_not_be_read_say_so() {
    let app = server().await;
    let features = ["country", "sector", "turnover"];
    let entities: [(&str, &[&str]); 2] = [("user", &["u"]), ("merchant", &["m"])];
    let error = || cell(Value::Null, "ERROR", None);
    for ask in [Ask::by_key(&features, &entities), Ask::by_key(&features, &entities).as_of(NOW)] {
        // A default never stands in for what could not be read.
        let cells = ask.use_defaults().cells(&app).await;
        assert_eq!(cells, [[present("GB", NOW), error(), error()]]);
    }
    let ask = Ask::by_key(&features, &entities);
    let answer = app.grpc().await.get_online_features(ask.message()).await.unwrap().into_inner();
    let errors: Vec<_> =
        answer.errors.iter().map(|error| (error.row, error.feature, error.reason.clone())).collect();
    assert_eq!(errors, [(0, 1, gone().to_string()), (0, 2, gone().to_string())]);
    let answer = app.rest().post("/api/v1/features/online", &ask.json()).await.json(200);
    let expected = json!({"sector": gone().to_string(), "turnover": gone().to_string()});
    assert_eq!(answer["results"][0]["errors"], expected);
}

#[tokio::test]
async fn a_call_of_which_nothing_could_be_read_fails() {
    let app = server().await;
    for ask in [
        Ask::by_key(&["sector", "turnover"], &[("merchant", &["m", "n"])]),
        Ask::new(&["sector", "turnover"], &["m"]).as_of("2024-01-15T14:00:00Z"),
    ] {
        let refused = ask.refused(&app).await;
        assert_eq!((refused.status, refused.message), (503, gone().to_string()));
    }
}
