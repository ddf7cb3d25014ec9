"""What the pages say in other languages than English; what is missing here stays English."""

from collections.abc import Mapping

ENGLISH = "en"
TEXTS: Mapping[str, Mapping[str, str]] = {
    ENGLISH: {},
    "de": {
        "Confirm your e-mail address": "E-Mail-Adresse bestätigen",
        "Confirm your new e-mail address": "Neue E-Mail-Adresse bestätigen",
        "Stop the change of your e-mail address": "Änderung der E-Mail-Adresse stoppen",
        "Choose a new password": "Neues Passwort wählen",
        "Change your password": "Passwort ändern",
        "Your password": "Ihr Passwort",
        "New password": "Neues Passwort",
        "Your e-mail address": "Ihre E-Mail-Adresse",
        "Confirm": "Bestätigen",
        "It was not me": "Das war ich nicht",
        "Set password": "Passwort setzen",
        "Send me a link": "Link anfordern",
        "Your address is confirmed. You can sign in now.": (
            "Ihre Adresse ist bestätigt. Sie können sich jetzt anmelden."
        ),
        "This is your address now.": "Das ist jetzt Ihre Adresse.",
        "The change is undone, and everybody is signed out. A message with a link to set a new "
        "password is on its way to you.": (
            "Die Änderung ist zurückgenommen, und alle sind abgemeldet. Eine Nachricht mit einem "
            "Link für ein neues Passwort ist unterwegs zu Ihnen."
        ),
        "Your password is set, and every session has ended. You can sign in now.": (
            "Ihr Passwort ist gesetzt, und alle Sitzungen sind beendet. Sie können sich jetzt "
            "anmelden."
        ),
        "If there is an account with this address, a link to set a new password is on its way.": (
            "Wenn es ein Konto mit dieser Adresse gibt, ist ein Link für ein neues Passwort "
            "unterwegs."
        ),
        "The link is not valid any more.": "Der Link ist nicht mehr gültig.",
        "The password is wrong.": "Das Passwort ist falsch.",
        "This e-mail address is taken.": "Diese E-Mail-Adresse ist vergeben.",
        "Not an e-mail address.": "Das ist keine E-Mail-Adresse.",
        "Too many requests. Try again later.": (
            "Zu viele Anfragen. Versuchen Sie es später noch einmal."
        ),
        "Too many sign-ins at once. Try again shortly.": (
            "Zu viele Anmeldungen auf einmal. Versuchen Sie es gleich noch einmal."
        ),
        "The service cannot answer now. Try again shortly.": (
            "Der Dienst kann gerade nicht antworten. Versuchen Sie es gleich noch einmal."
        ),
        # By its code, as the message has a number in it.
        "too_short": "Zu kurz; 15 Zeichen oder mehr sind besser.",
        "One of the passwords that are tried first.": (
            "Eines der Passwörter, die zuerst probiert werden."
        ),
        "The name of the account, its address or the service.": (
            "Der Name des Kontos, seine Adresse oder der Dienst."
        ),
        "Not the one that was chosen for you.": "Nicht das, das für Sie gewählt wurde.",
    },
}


def translated(text: str, language: str, code: str = "") -> str:
    known = TEXTS[language]
    return known.get(code) or known.get(text, text)
