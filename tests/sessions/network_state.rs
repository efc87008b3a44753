//! What an adapter keeps for its network as a whole.

use windu::sessions::StoredNetworkState;
use windu::upstream::NetworkState as _;

use crate::world::World;

#[tokio::test]
async fn a_value_is_replaced_by_one_of_several_writers_with_all_that_belongs_to_it() {
    let world = World::new().await;
    let store = world.process().store.clone();
    let state = StoredNetworkState { store: store.clone(), network: "one" };
    let other = StoredNetworkState { store, network: "other" };
    let with = |key: &str, value: Option<&[u8]>| [(key.to_owned(), value.map(<[u8]>::to_vec))];
    assert!(state.replace("a/1", None, b"first", &with("b/1", Some(b"kept"))).await.unwrap());
    // There is one by now, and another one than expected.
    assert!(!state.replace("a/1", None, b"late", &with("b/1", Some(b"late"))).await.unwrap());
    assert!(!state.replace("a/1", Some(b"second"), b"late", &with("b/1", None)).await.unwrap());
    assert!(!state.replace("a/2", Some(b"first"), b"late", &[]).await.unwrap());
    let kept = vec![Some(b"first".to_vec()), None, Some(b"kept".to_vec())];
    assert_eq!(state.get(&["a/1", "a/2", "b/1"]).await.unwrap(), kept);
    assert_eq!(other.get(&["a/1"]).await.unwrap(), [None]);

    let writers = (0..8_u8).map(|writer| {
        let state = &state;
        async move { state.replace("a/1", Some(b"first"), &[writer], &[]).await.unwrap() }
    });
    let written = futures_util::future::join_all(writers).await;
    assert_eq!(written.into_iter().filter(|written| *written).count(), 1);
    let [Some(value)] = &state.get(&["a/1"]).await.unwrap()[..] else { panic!("it is there") };
    assert!(state.replace("a/1", Some(value), b"last", &with("b/1", None)).await.unwrap());
    assert_eq!(state.get(&["b/1"]).await.unwrap(), [None]);
}

#[tokio::test]
async fn the_keys_below_a_prefix_are_listed() {
    let world = World::new().await;
    let state = StoredNetworkState { store: world.process().store.clone(), network: "one" };
    for key in ["member/b", "member/a/2", "member/a/1", "member/a0", "member/ab/1", "memberless/a"] {
        assert!(state.replace(key, None, key.as_bytes(), &[]).await.unwrap());
    }
    let listed = state.list("member/a/").await.unwrap();
    let expected = ["member/a/1", "member/a/2"].map(|key| (key.to_owned(), key.as_bytes().to_vec()));
    assert_eq!(listed, expected);
}
