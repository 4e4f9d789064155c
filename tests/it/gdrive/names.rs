//! Names that aren't unique, folders that come and go, and what two writers of one name end with.

use kanbu_backup::storage::gdrive::DriveError;
use object_store::{Error, ObjectStore, ObjectStoreExt};

use super::{
    FOREVER, OBJECT, at, create,
    fake::{FakeDrive, Trouble, Verb},
    list, read,
    shelf::ROOT,
};

fn is_ambiguous(error: &Error) -> bool {
    matches!(DriveError::of(error), Some(DriveError::Ambiguous { ids, .. }) if ids.len() == 2)
}

#[tokio::test]
async fn two_files_of_one_name_are_an_error_until_both_are_deleted() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    create(&drive, OBJECT, b"ours").await.unwrap();
    {
        let mut state = fake.state();
        let folder = state.shelf.at("prod/database/one").remove(0);
        state
            .shelf
            .add(&folder, "dump.kbk", Some(b"theirs".to_vec()));
    }
    // Another process, which remembers nothing.
    let drive = fake.store();
    for error in [
        drive.head(&at(OBJECT)).await.unwrap_err(),
        read(&drive, OBJECT).await.unwrap_err(),
        create(&drive, OBJECT, b"third").await.unwrap_err(),
        list(&drive, "prod").await.unwrap_err(),
    ] {
        assert!(is_ambiguous(&error), "{error:?}");
    }
    drive.delete(&at(OBJECT)).await.unwrap();
    fake.assert_clean(0);
}

#[tokio::test]
async fn two_folders_of_one_name_are_an_error_and_not_half_a_list() {
    let fake = FakeDrive::start().await;
    create(&fake.store(), OBJECT, b"x").await.unwrap();
    fake.state().shelf.add(ROOT, "prod", None);
    let drive = fake.store();
    for error in [
        drive.head(&at(OBJECT)).await.unwrap_err(),
        list(&drive, "prod").await.unwrap_err(),
        drive.list_with_delimiter(None).await.unwrap_err(),
        create(&drive, "prod/database/two/x", b"x")
            .await
            .unwrap_err(),
    ] {
        assert!(is_ambiguous(&error), "{error:?}");
    }
}

#[tokio::test]
async fn names_with_quotes_and_other_case_stay_apart() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    for name in ["it's/a 'quoted' name", "it's/A 'QUOTED' NAME", "it's/b"] {
        create(&drive, name, name.as_bytes()).await.unwrap();
    }
    for name in ["it's/a 'quoted' name", "it's/A 'QUOTED' NAME", "it's/b"] {
        assert_eq!(read(&fake.store(), name).await.unwrap(), name);
    }
    fake.assert_clean(3);
}

#[tokio::test]
async fn a_create_that_meets_an_older_file_takes_its_own_away() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    fake.trouble(Verb::Finish, Trouble::OlderRival);
    let error = create(&drive, OBJECT, b"ours").await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    assert_eq!(fake.content(OBJECT), b"rival");
    fake.assert_clean(1);
}

#[tokio::test]
async fn an_upload_that_meets_an_older_file_takes_its_own_away() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    fake.trouble(Verb::Finish, Trouble::OlderRival);
    let mut upload = drive.put_multipart(&at(OBJECT)).await.unwrap();
    upload.put_part("ours".into()).await.unwrap();
    let error = upload.complete().await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    assert_eq!(fake.content(OBJECT), b"rival");
    fake.assert_clean(1);
}

#[tokio::test]
async fn a_create_that_meets_a_younger_file_stays() {
    let fake = FakeDrive::start().await;
    fake.trouble(Verb::Finish, Trouble::YoungerRival);
    create(&fake.store(), OBJECT, b"ours").await.unwrap();
    assert_eq!(
        fake.state().shelf.at(OBJECT).len(),
        2,
        "the rival is its maker's to remove"
    );
}

#[tokio::test]
async fn of_many_creates_side_by_side_one_wins_and_no_folder_is_doubled() {
    let fake = FakeDrive::start().await;
    let drives: Vec<_> = (0..6).map(|_| fake.store()).collect();
    let racing = drives.iter().enumerate().map(|(number, drive)| async move {
        create(drive, OBJECT, number.to_string().as_bytes()).await
    });
    let results = futures::future::join_all(racing).await;
    let winners: Vec<usize> = (0..6).filter(|number| results[*number].is_ok()).collect();
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(
            matches!(error, Error::AlreadyExists { .. }) || is_ambiguous(error),
            "{error:?}"
        );
    }
    assert_eq!(winners.len(), 1, "{results:?}");
    assert_eq!(fake.content(OBJECT), winners[0].to_string().as_bytes());
    for folder in ["prod", "prod/database", "prod/database/one"] {
        assert_eq!(fake.state().shelf.at(folder).len(), 1, "{folder}");
    }
    fake.assert_clean(1);
}

#[tokio::test]
async fn a_folder_whose_answer_was_lost_is_not_made_twice() {
    let fake = FakeDrive::start().await;
    fake.troubles(Verb::MakeFolder, 0, 3, Trouble::AnswerLost);
    create(&fake.store(), OBJECT, b"x").await.unwrap();
    for folder in ["prod", "prod/database", "prod/database/one"] {
        assert_eq!(fake.state().shelf.at(folder).len(), 1, "{folder}");
    }
}

#[tokio::test]
async fn a_folder_that_was_removed_by_hand_is_made_anew() {
    for trash in [false, true] {
        let fake = FakeDrive::start().await;
        let drive = fake.store();
        create(&drive, OBJECT, b"first").await.unwrap();
        {
            let mut state = fake.state();
            let folder = state.shelf.at("prod").remove(0);
            if trash {
                state.shelf.get_mut(&folder).unwrap().trashed = true;
            } else {
                state.shelf.remove(&folder);
            }
        }
        let error = drive.head(&at(OBJECT)).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        assert_eq!(list(&drive, "prod").await.unwrap(), [""; 0]);
        create(&drive, OBJECT, b"second").await.unwrap();
        assert_eq!(fake.content(OBJECT), b"second");
    }
}

#[tokio::test]
async fn an_upload_into_a_folder_that_was_removed_meanwhile_makes_it_anew() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    create(&drive, OBJECT, b"first").await.unwrap();
    {
        let mut state = fake.state();
        let folder = state.shelf.at("prod").remove(0);
        state.shelf.remove(&folder);
    }
    let mut upload = drive.put_multipart(&at(OBJECT)).await.unwrap();
    upload.put_part("second".into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(fake.content(OBJECT), b"second");
}

#[tokio::test]
async fn a_search_that_lags_behind_doesnt_hide_what_was_just_written() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    create(&drive, OBJECT, b"x").await.unwrap();
    fake.troubles(Verb::Search, 0, FOREVER, Trouble::Blind);
    assert_eq!(drive.head(&at(OBJECT)).await.unwrap().size, 1);
    assert_eq!(read(&drive, OBJECT).await.unwrap(), "x");
}

#[tokio::test]
async fn what_has_no_bytes_or_no_name_for_a_path_is_no_object() {
    let fake = FakeDrive::start().await;
    create(&fake.store(), "prod/one", b"x").await.unwrap();
    {
        let mut state = fake.state();
        let folder = state.shelf.at("prod").remove(0);
        state.shelf.add(&folder, "a\u{0}b", Some(b"x".to_vec()));
        state.shelf.add(&folder, "..", Some(b"x".to_vec()));
    }
    assert_eq!(list(&fake.store(), "prod").await.unwrap(), ["prod/one"]);
}
