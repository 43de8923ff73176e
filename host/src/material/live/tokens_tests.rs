use super::*;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

const LIFE: u64 = 600;

/// Answers as it was told, then with tokens that are counted.
#[derive(Default)]
struct Fake {
    answers: Mutex<VecDeque<Result<u64, ApiError>>>,
    asked: Mutex<Vec<Instant>>,
    /// Answers no one.
    mute: bool,
    /// Was away, and is back.
    returned: tokio::sync::watch::Sender<Option<Instant>>,
}

impl Fake {
    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Issuer for Fake {
    fn returns(&self) -> Returns {
        Returns::of(&self.returned)
    }

    async fn issue(&self, _: &PodIdentity, spec: &TokenSpec) -> Result<Issued, ApiError> {
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(Instant::now());
            asked.len()
        };
        if self.mute {
            std::future::pending::<()>().await;
        }
        let answer = self.answers.lock().unwrap().pop_front();
        let life = answer.unwrap_or(Ok(spec.expiration_seconds))?;
        Ok(Issued {
            token: format!("token-{number}").into(),
            life: Duration::from_secs(life),
        })
    }
}

fn identity() -> PodIdentity {
    let text = |text: &str| text.to_owned();
    PodIdentity {
        cluster: text("c"),
        node: text("n"),
        namespace: text("ns"),
        name: text("p"),
        uid: text("u-1"),
    }
}

fn spec() -> TokenSpec {
    TokenSpec {
        service_account: "default".to_owned(),
        audience: String::new(),
        expiration_seconds: LIFE,
    }
}

struct Tried {
    fake: Arc<Fake>,
    board: Arc<Board>,
    desk: Arc<Desk>,
    began: Instant,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

fn wanted(runs: bool) -> Wanted {
    Wanted {
        pod: Arc::new(identity()),
        spec: Arc::new(spec()),
        runs,
    }
}

fn start(fake: Fake) -> Tried {
    start_on(fake, Duration::default)
}

/// On a machine that has slept for so long.
fn start_on(fake: Fake, suspended: fn() -> Duration) -> Tried {
    let (fake, board, desk) = (Arc::new(fake), Arc::new(Board::default()), Arc::new(Desk::default()));
    let mut keeper = Keeper::new(fake.clone(), board.clone(), desk.clone());
    (keeper.suspended, keeper.slept) = (suspended, suspended());
    Tried {
        fake,
        board,
        desk,
        began: Instant::now(),
        _task: tokio_util::task::AbortOnDropHandle::new(tokio::spawn(keeper.run())),
    }
}

/// One token is kept, and gets these answers first.
fn keep(answers: impl IntoIterator<Item = Result<u64, ApiError>>) -> Tried {
    let kept = start(Fake {
        answers: Mutex::new(answers.into_iter().collect()),
        ..Fake::default()
    });
    kept.desk.keep(ThingId(1), wanted(false));
    kept
}

impl Tried {
    async fn next(&self) -> Found<Arc<Token>> {
        loop {
            self.board.wait().await;
            if let Some(news) = self.board.take().into_values().next() {
                let News::Token(found) = news else { panic!("{news:?}") };
                return found;
            }
        }
    }

    async fn token(&self) -> String {
        match self.next().await {
            Found::Here(token) => token.read(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_while_the_machine_slept_is_renewed_when_it_wakes() {
    static SLEPT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(500);
    let slept = || Duration::from_secs(SLEPT.load(std::sync::atomic::Ordering::Relaxed));
    let kept = start_on(Fake::default(), slept);
    kept.desk.keep(ThingId(1), wanted(false));
    assert_eq!(kept.token().await, "token-1");
    SLEPT.fetch_add(2 * LIFE, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(kept.token().await, "token-2");
    let asked = kept.fake.asked();
    assert!(asked[1] - asked[0] <= suspend::NAP, "{asked:?}");
    // And from there on as ever.
    assert_eq!(kept.token().await, "token-3");
    let passed = kept.fake.asked()[2] - asked[1];
    assert!(passed >= Duration::from_secs(LIFE * 4 / 5 - 10), "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_after_four_fifths_of_its_life_vk_442() {
    let kept = keep([]);
    for number in 1..=4 {
        assert_eq!(kept.token().await, format!("token-{number}"));
    }
    let asked = kept.fake.asked();
    for pair in asked.windows(2) {
        let passed = pair[1] - pair[0];
        assert!(
            passed <= Duration::from_secs(480) && passed >= Duration::from_secs(470),
            "{passed:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_life_is_renewed_every_day() {
    let kept = keep([Ok(30 * 24 * 3600)]);
    kept.token().await;
    kept.token().await;
    let passed = kept.began.elapsed();
    assert!(passed <= LONGEST && passed >= LONGEST - JITTER, "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn the_old_token_stays_while_it_is_good_and_renewal_fails() {
    let down = || Err(ApiError::Transport("down".into()));
    let kept = keep([Ok(LIFE), down(), down(), down()]);
    assert_eq!(kept.token().await, "token-1");
    // Three failures in a row, and nothing is said of them.
    assert_eq!(kept.token().await, "token-5");
    assert!(kept.began.elapsed() < Duration::from_secs(LIFE));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ran_out_is_no_longer_held_out() {
    let down = (0..100).map(|_| Err(ApiError::Forbidden("no more".into())));
    let kept = keep([Ok(LIFE)].into_iter().chain(down));
    assert_eq!(kept.token().await, "token-1");
    match kept.next().await {
        Found::Unavailable(why) => assert!(why.contains("no more"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(kept.began.elapsed() >= Duration::from_secs(LIFE));
}

#[tokio::test(start_paused = true)]
async fn a_missing_account_is_told_at_once_and_asked_for_again() {
    let missing = || Err(ApiError::NotFound("serviceaccounts \"default\" not found".into()));
    let kept = keep([missing(), missing()]);
    assert!(matches!(kept.next().await, Found::Missing));
    assert!(matches!(kept.next().await, Found::Missing));
    assert_eq!(kept.token().await, "token-3");
}

#[tokio::test(start_paused = true)]
async fn pods_that_run_already_leave_room_for_those_that_wait() {
    let tried = start(Fake {
        mute: true,
        ..Fake::default()
    });
    for id in 0..100 {
        tried.desk.keep(ThingId(id), wanted(true));
    }
    // Time passes only when nobody has anything to do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tried.fake.asked().len(), RENEWALS);
    for id in 100..200 {
        tried.desk.keep(ThingId(id), wanted(false));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tried.fake.asked().len(), REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn what_failed_while_the_server_was_away_is_asked_for_as_soon_as_it_is_back() {
    let down = (0..12).map(|_| Err(ApiError::Transport("down".into())));
    let kept = keep(down);
    let all_asked = async {
        while kept.fake.asked().len() < 12 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), all_asked)
        .await
        .unwrap();
    let back = Instant::now();
    kept.fake.returned.send_replace(Some(back));
    let token = async { while !matches!(kept.next().await, Found::Here(_)) {} };
    token.await;
    assert!(back.elapsed() <= Duration::from_secs(1), "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_let_go_of_is_not_renewed() {
    let kept = keep([]);
    kept.token().await;
    kept.desk.keep(ThingId(2), wanted(false));
    kept.token().await;
    kept.desk.end(ThingId(1));
    tokio::time::sleep(Duration::from_secs(LIFE)).await;
    assert_eq!(
        kept.fake.asked().len(),
        3,
        "one each, and the renewal of the one that is left"
    );
}

#[test]
fn the_request_is_bound_to_the_pod() {
    let spec = TokenSpec {
        audience: "vault".to_owned(),
        ..spec()
    };
    let body: serde_json::Value = serde_json::from_slice(&body(&identity(), &spec)).unwrap();
    assert_eq!(body["spec"]["audiences"], json!(["vault"]));
    assert_eq!(body["spec"]["expirationSeconds"], LIFE);
    assert_eq!(
        body["spec"]["boundObjectRef"],
        json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u-1"})
    );
    assert_eq!(
        path(&identity(), &spec),
        "/api/v1/namespaces/ns/serviceaccounts/default/token"
    );
}

#[test]
fn the_life_that_was_granted_counts_and_errors_hold_no_token() {
    let answer = json!({"spec": {"expirationSeconds": 900}, "status": {"token": "hunter2"}}).to_string();
    let issued = read(answer.as_bytes(), &spec()).unwrap();
    assert_eq!(issued.life, Duration::from_secs(900));
    assert!(!format!("{:?}", issued.token).contains("hunter2"));
    let broken = json!({"status": {"token": ["hunter2"]}}).to_string();
    let Err(ApiError::Malformed(error)) = read(broken.as_bytes(), &spec()) else {
        panic!("taken")
    };
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
}
