"""What nasty texts are made of: names and phrases of each language, and the characters that break tokenizers."""

from __future__ import annotations

from dataclasses import dataclass

# Everything that some engine counts as a blank, one character or a short run.
BLANKS = (
    "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\n    ", " \n ", "\t\t ", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e",
    "\x1f", "\x85", "\u00a0", "\u00a0\u00a0", " \u00a0", "\u00a0 ", "\u1680", "\u2002", "\u2003", "\u2007", "\u2009",
    "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", " \x1f ", "\n\u2028\n", "\t\u00a0\n", " " * 17,
)  # fmt: skip
# Characters without a width of their own: joiners, marks of direction, soft hyphens, control characters.
INVISIBLE = (
    "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u200f", "\u202a", "\u202c", "\u2066",
    "\u2069", "\ufe0f", "\ufe0e", "\u180e", "\x00", "\x01", "\x07", "\x08", "\x1b", "\x7f", "\u034f", "\U000e0067",
)  # fmt: skip
EMOJI = (
    "😀", "👍🏽", "👩‍👩‍👧‍👦", "🏴‍☠️", "🇫🇷", "🇪🇸🇬🇧", "❤️", "👨🏿‍🚒", "🤷🏻‍♀️", "1️⃣", "#️⃣", "©", "™", "☕️☕️",
    "🏳️‍🌈", "🫠", "🙂🙃", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)  # fmt: skip
EMOTICONS = (
    ":)", ":-)", ";-D", ":'(", "<3", "</3", "xD", "XDD", ":/", ":-/", "(^_^)", "¯\\(ツ)/¯", "ಠ_ಠ", "(ಠ_ಠ)", "^__^",
    "=)", "8-)", ":o)", "(╯°□°）╯︵┻━┻", "><(((*>", "-__-", ">.<", "o.O", ":-]", "[-:", "\\o/", "(-:", ":3", ":x",
    "<.<",
)  # fmt: skip
# Combining marks, some of which are letters or numbers to one engine and not to the other.
MARKS = (
    "\u0301", "\u0300", "\u0302", "\u0308", "\u0303", "\u0327", "\u0307", "\u0323", "\u0345", "\u0301\u0301\u0300",
    "\u20dd", "\u0489", "\u05b0", "\u064b", "\u093f", "\u0e31", "\u3099", "\u200d\u0301",
)  # fmt: skip
# Letters whose case is odd: lower case of another length, title case, final sigma, ligatures, no case at all.
LETTERS = (
    "İ", "ı", "ẞ", "ß", "ſ", "Σ", "ς", "ŉ", "ǰ", "ΐ", "ǅ", "ǈ", "ǋ", "ǲ", "Ǆ", "ǆ", "ﬁ", "ﬃ", "ﬄ", "ﬆ", "\u212b",
    "\u212a", "\u2126", "ᾳ", "ᾼ", "ᾈ", "ª", "º", "ʰ", "Ⅻ", "ⅻ", "Ⓐ", "ⓩ", "𝐀", "𝓃", "𝟘", "Ａ", "ｚ", "０", "²", "½",
    "٣", "߃", "१", "一", "Ǳ", "ჳ", "Ა", "ꭰ", "Ꭰ", "Ꙁ", "ᲀ",
)  # fmt: skip
# Words and phrases of other scripts, right-to-left ones and some that mix two.
SCRIPTS = (
    "Москва", "Лев Николаевич Толстой", "ΟΔΥΣΣΕΥΣ", "Οδυσσεύς ΣΑΣ", "Αθήνα", "ירושלים", "דוד בן־גוריון", "القاهرة",
    "محمد بن سلمان", "تهران\u200cها", "北京市", "東京タワー", "ﾄｳｷｮｳ", "서울특별시", "नई दिल्ली", "กรุงเทพมหานคร",
    "தமிழ்நாடு", "Երևան", "თბილისი", "አዲስ አበባ", "Łódź", "Þórshöfn", "Đà Nẵng", "Reykjavíkurborg", "Москвa", "рaypal",
    "ΑBC", "abcابتabc", "שלום-world", "Straße", "STRASSE", "İSTANBUL", "DİYARBAKIR", "Ǆungla", "Ĳsselmeer", "œuvre",
    "Œdipe", "ﬂamenco", "ＩＢＭ", "𝕎𝕒𝕤𝕙𝕚𝕟𝕘𝕥𝕠𝕟",
)  # fmt: skip
ADDRESSES = (
    "https://www.example.org/a/b?c=d&e=%20f#g", "http://user:pw@example.com:8080/", "www.example.co.uk", "example.com",
    "https://fr.example.org/wiki/Été_(saison)", "ftp://192.168.0.1/x.tar.gz", "mailto:jane.doe@example.com",
    "jane.doe+tag@mail.example.co.uk", "j@x.io", "//example.com/path", "HTTP://EXAMPLE.COM", "https://例え.jp/パス",
    "example.com:443/x,y;z", "file:///etc/passwd", "git@example.com:a/b.git", "#hashtag", "@mention", "C++", "C#",
    "/usr/share/doc", "C:\\Temp\\new", "a.b.c.d", "v1.2.3-rc.1+build", "e.g.http://x.org", "10.1000/182", "::1",
)  # fmt: skip
NUMBERS = (
    "3.14", "1,000,000", "1 000 000", "1\u202f234,56", "10%", "10 %", "5km", "12.5kg", "50cm²", "10m/s", "100°C",
    "20°", "3GB", "2x4", "1-2", "1–2", "1/2", "10:30", "10h30", "7pm", "7p.m.", "11a.m.", "-5", "+33", "±3", "2e10",
    "0x1F", "1,5", ".5", "5.", "£20", "$5.99", "€1,000", "20€", "20 €", "US$3bn", "¥100", "10k", "1st", "22nd", "1er",
    "2e", "3º", "n°5", "№ 7", "#1", "1984", "'90s", "1990s", "20th-century", "IV", "XVIII", "2024-02-29", "29/02/2024",
    "5'10\"", "1.000.000,00", "0", "00", "1" * 40,
)  # fmt: skip
OPENERS = (
    "(", "[", "{", "<", "«", "« ", "\u201c", "\u2018", "\u201e", "\u2039", '"', "'", "((", "['", '("', "¿", "¡", "*",
    "**", "_", "__", "`", "``", "#", "@", "$", "&", "~", "-", "--", "—", "…", "...", "«\u00a0", "“‘", "¿¡", "%", "+",
    "=", "|", "\\", "/", ":", ";", ".", ",", "§", "©", "•", "·", "†", "'s", "''", "(¿", "„‚",
)  # fmt: skip
CLOSERS = (
    ")", "]", "}", ">", "»", " »", "\u201d", "\u2019", "\u201c", "\u203a", '"', "'", "))", "']", '")', "?", "!", "*",
    "**", "_", "__", "`", "''", ".", ",", ";", ":", "…", "...", "..", "....", "?!", "!!!", "’s", "'s", "’", "%", "-",
    "--", "—", "–", "/", "\\", "|", "\u00a0»", "’”", "), ", ".)", ".”", ",\"", "™", "®", "°", "&", "=", "+", "€", "$",
    "†", "'S", "’S", "s'", "*)", "!?…",
)  # fmt: skip
CHAINS = (
    "-", "–", "—", "--", "/", "...", "…", "..", ".", ",", ":", ";", "'", "’", "_", "&", "+", "=", "|", "~", "*", "·",
    "-\u00ad", "->", "=>", "'-", "-'", "(", ")", "?", "!", "/-/", "․", "‑", "‐", "−", "‧", "•",
)  # fmt: skip
# First and last code point of stretches that random characters come from; no surrogates.
STRETCHES = (
    (0x01, 0x7F), (0x80, 0xFF), (0x100, 0x24F), (0x250, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F),
    (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x13A0, 0x13FF),
    (0x1C80, 0x1CBF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF), (0x2C00, 0x2DFF),
    (0x3000, 0x30FF), (0x4E00, 0x4EFF), (0xA640, 0xA7FF), (0xAB30, 0xABBF), (0xAC00, 0xACFF), (0xE000, 0xE010),
    (0xFB00, 0xFB4F), (0xFE00, 0xFEFF), (0xFF00, 0xFFFF), (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F6FF),
    (0xE0020, 0xE007F), (0x10FFFE, 0x10FFFF),
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """What a language gives. `sentences` have places `{person}`, `{place}`, `{organization}`, `{date}`, `{amount}`.

    `specials` are chunks that tokenizers know by heart or cut in an own way; `glued` begin a word without a blank.
    """

    people: tuple[str, ...]
    places: tuple[str, ...]
    organizations: tuple[str, ...]
    dates: tuple[str, ...]
    amounts: tuple[str, ...]
    sentences: tuple[str, ...]
    specials: tuple[str, ...]
    glued: tuple[str, ...]


_ENGLISH = Words(
    people=(
        "Ada Lovelace", "Sean O'Neill", "Jean-Luc Picard", "Dr. Martin Luther King Jr.", "J. R. R. Tolkien",
        "Ms. Smith", "Barack Obama", "Conan O’Brien", "Mary-Jane Watson-Parker", "Björn Borg", "Queen Elizabeth II",
        "Mohammed al-Fayed", "MacArthur", "van Gogh", "Angela Merkel", "Lech Wałęsa", "Sen. John McCain",
        "Prof. D'Angelo", "Vincent", "Li Na", "José María Aznar",
    ),
    places=(
        "London", "New York City", "Côte d'Ivoire", "the U.S.", "St. Petersburg", "Stratford-upon-Avon",
        "Mount Everest", "the Pacific Ocean", "Washington, D.C.", "São Paulo", "Paris, France", "King's Cross",
        "Trinidad & Tobago", "the European Union", "Silicon Valley", "N.Y.",
    ),
    organizations=(
        "Apple Inc.", "AT&T", "the United Nations", "Procter & Gamble Co.", "NATO", "Yahoo!", "McDonald's", "Google",
        "the BBC", "E.ON SE", "Rolls-Royce plc", "the Free Software Foundation", "Debian", "7-Eleven", "the F.B.I.",
        "Toys\"R\"Us", "eBay",
    ),
    dates=(
        "on 3 March 1999", "in the 1980s", "last Tuesday", "at 5 p.m.", "in mid-2007", "on Jan. 1st, 2020",
        "two days later", "by Q3 2021", "from 1914 to 1918", "on 9/11", "yesterday", "every other week",
        "in the twentieth century", "on Christmas Eve", "2024-12-31",
    ),
    amounts=(
        "$3.5 billion", "20%", "about 1,500 people", "€40", "five thousand dollars", "US$1m", "a third", "10 km",
        "twenty-one", "£1.2bn", "3-4 percent", "100 MB", "½ cup", "No. 10",
    ),
    sentences=(
        "{person} met {person} in {place} {date}.",
        "{organization} paid {amount} to {organization}, {person} said {date}.",
        "\"We don't know,\" {person} told {organization}; \"it's {amount}.\"",
        "{date}, {place} and {place} signed the Treaty of {place}.",
        "{person} ({organization}) lost {amount} {date} -- didn't he?",
        "They're {person}'s friends from {place}, aren't they?",
        "{person}, {person} & {person} [{organization}, {place}]",
        "Mr. {person} can't've sold {amount} of {organization}'s shares!", "From: {person} Date: {date} Re: {place}",
        "{organization} v. {organization}, {place}, {date}", "{place}: {amount} … {date}",
        "the {place}-based {organization} hired {person}",
        "Copyright (C) {date} {person}, {organization}. All rights reserved.",
    ),
    specials=(
        "don't", "can't", "it's", "It’s", "y'all", "Y’all're", "should've", "cannot", "gonna", "Gotta", "e.g.", "i.e.",
        "a.m.", "10am", "8pm", "U.S.", "U.S.A.", "Mr.", "Mrs.", "Jan.", "St.", "Ph.D.", "o'clock", "O'Connor",
        "rock'n'roll", "'em", "'cause", "ma'am", "we'll've", "Im", "dont", "wanna", "vs.", "etc.", "Inc.", "Co.",
        "Calif.", "D.C.", "wouldn't've", "ain't", "who'd", "let's", "c'mon", "nothin'", "Adm.", "ca", "n't", "w/o",
        "and/or", "o.O", "\\n", "\\t", "'S", "not've", "Mt.", "Messrs.", "No.", "p.m.",
    ),
    glued=(
        "ex-", "non-", "pre-", "anti-", "Mc", "O'", "d'", "al-", "co-", "un", "$", "#", "@", "(", "~", "'",
    ),
)  # fmt: skip
_FRENCH = Words(
    people=(
        "Victor Hugo", "Jean-Jacques Rousseau", "M. Dupont", "Mme de La Fayette", "Charles de Gaulle",
        "François Mitterrand", "Zoé", "Jeanne d'Arc", "Mgr Lefebvre", "Louis XIV", "Léopold Sédar Senghor",
        "N’Golo Kanté", "Marie-Ève L'Écuyer", "Napoléon Ier", "Émile Zola", "le Dr Martin", "Anne-Sophie Pic",
        "JEAN MOULIN", "Simone de Beauvoir", "Mlle Chanel",
    ),
    places=(
        "Paris", "l'Île-de-France", "Aix-en-Provence", "la Côte d’Azur", "Saint-Étienne", "L'Haÿ-les-Roses",
        "la rue de l’Église", "New York", "les États-Unis", "Boulogne-sur-Mer", "Châlons-en-Champagne", "la Suisse",
        "Le Havre", "Villeneuve-d'Ascq", "le Moyen-Orient", "Québec", "l'Allemagne", "Clermont-FERRAND", "saint-Denis",
        "la Côte-d'Ivoire",
    ),
    organizations=(
        "l'Assemblée nationale", "la S.N.C.F.", "Air France-KLM", "l’ONU", "Peugeot S.A.", "le CNRS", "L'Oréal",
        "Société générale", "EDF", "l'Union européenne", "BNP-Paribas", "le Conseil d'État",
        "Médecins sans frontières", "Moët & Chandon", "France 2", "Le Monde",
    ),
    dates=(
        "le 14 juillet 1789", "en l'an 2000", "hier soir", "au XVIIIe siècle", "en 52 av. J.-C.", "vers 10h30",
        "mardi dernier", "le 1er janv.", "de 1914-1918", "à midi", "aujourd'hui", "l'après-midi du 3 févr. 2020",
        "il y a 20 ans",
    ),
    amounts=(
        "3,5 milliards d'euros", "20 %", "1 500 personnes", "40 €", "5km", "un tiers", "quatre-vingt-dix-neuf",
        "10 000 F", "2/3", "n° 10", "100 Mo", "1er", "50 kg", "vingt-et-un",
    ),
    sentences=(
        "{person} rencontra {person} à {place} {date}.",
        "« {organization} a versé {amount} à {organization} », dit-elle {date}.",
        "Où est-ce que {person} a-t-il vu {place} ?", "L'ex-président {person} s'est-il rendu à {place}, {date} ?",
        "D'après {organization}, c'est {amount} qu'{person} aurait perdus.",
        "Peut-être y a-t-il {amount} d'{organization} à {place}…",
        "{person} ({organization}) — quelqu'un d'{place} — n'est plus là.",
        "Jusqu'à {date}, l'{organization} d'{place} dépendait d'{place}.",
        "M. {person}, {person} et Mme {person} [{organization}]", "Va-t-en, dit-il ; {date}, rendez-vous à {place} !",
        "{place} : {amount}, {date}", "Aujourd'hui, {person} (né à {place}) vaut {amount}.",
        "Traduit par {person} pour {organization}, {date}.",
    ),
    specials=(
        "aujourd'hui", "Aujourd’hui", "J.-C.", "av.", "apr.", "M.", "Mr.", "MM.", "janv.", "févr.", "Févr.", "etc.",
        "p.ex.", "c'est-à-dire", "est-ce", "Peut-être", "peut-être", "dit-elle", "a-t-il", "y-a-t-il", "va-t-en",
        "vas-y", "rendez-vous", "quelqu'un", "presqu'île", "n°", "entr'ouvert", "grand-mère", "arc-en-ciel", "Faut-il",
        "donne-le-moi", "l'on", "Qu'est-ce", "lorsqu'il", "prud'hommes", "D'Artagnan", "St.", "là-bas", "celui-ci",
        "au-delà", "week-end", "anti-inflammatoire", "ex-mari", "Sous-Préfet", "porte-à-faux", "p.-ê.", "1re", "XIXe",
        "h.", "main-d'œuvre", "chef-d’œuvre", "hors-d'oeuvre", "Bourg-l'Évêque", "saint-Jean-de-LUZ", "vice-PRÉSIDENT",
        "Mme", "Dr.",
    ),
    glued=(
        "l'", "L'", "l’", "L’", "d'", "D’", "qu'", "Qu’", "jusqu'", "lorsqu’", "s'", "n'", "j'", "m'", "c'", "C’",
        "puisqu'", "ex-", "anti-", "sous-", "non-", "quelqu'", "l''", "-",
    ),
)  # fmt: skip
_SPANISH = Words(
    people=(
        "Miguel de Cervantes", "Gabriel García Márquez", "la Sra. Núñez", "D. Quijote", "Felipe VI", "Ana M.ª López",
        "José Luis R. Zapatero", "Santa Teresa de Ávila", "Frida Kahlo", "Sr. Ibáñez-Martín", "Rafa Nadal",
        "Dña. Leonor", "el Dr. Ramón y Cajal", "Iñaki Urdangarin", "MARÍA JOSÉ", "Penélope Cruz", "Lionel Messi",
        "O'Higgins", "Ud.",
    ),
    places=(
        "Madrid", "la Ciudad de México", "EE. UU.", "San Sebastián-Donostia", "el río Guadalquivir",
        "Castilla-La Mancha", "La Rioja", "A Coruña", "Nueva York", "el Reino Unido", "Buenos Aires",
        "la avda. de América", "Vitoria-Gasteiz", "L'Hospitalet", "Cádiz", "América Latina", "Perú",
    ),
    organizations=(
        "la ONU", "el F.C. Barcelona", "Telefónica S.A.", "el Partido Popular", "la Unión Europea", "BBVA",
        "el Banco Santander", "la RAE", "Inditex", "El País", "el Ministerio de Educación", "Seat-Volkswagen",
        "Médicos sin Fronteras", "la U.N.A.M.", "Zara & Cía.",
    ),
    dates=(
        "el 12 de octubre de 1492", "en los años 80", "ayer", "a las 5 p.m.", "en el s. XVI", "en el año 44 a. C.",
        "el lunes pasado", "de 1936-1939", "el 1.º de mayo", "dentro de 3 días", "12m.", "en enero del 2020",
        "a las 17:30h",
    ),
    amounts=(
        "3,5 millones de euros", "20 %", "1.500 personas", "40 €", "5km", "un tercio", "veintiún mil", "US$10", "2/3",
        "n.º 10", "100 MB", "50kg", "treinta y dos",
    ),
    sentences=(
        "{person} conoció a {person} en {place} {date}.",
        "«{organization} pagó {amount} a {organization}», dijo {person} {date}.", "¿Dónde está {place}, {person}?",
        "¡{person} ganó {amount} en {place}!", "¿¡Que {organization} compró {place} {date}!?",
        "Según {organization}, {person} —natural de {place}— debía {amount}.",
        "{date}, la sede de {organization} pasó de {place} a {place}…",
        "Dígaselo a {person} ({organization}): son {amount}.", "{place}: {amount}, {date}",
        "Sr. {person}, Sra. {person} y cía. [{organization}]",
        "El ex-presidente {person} volvió del {place}; ¡vámonos!",
        "Traducido por {person} para {organization}, {date}.",
    ),
    specials=(
        "Sr.", "Sra.", "Srta.", "Dr.", "D.", "Dña.", "EE.UU.", "EE.", "UU.", "p.ej.", "etc.", "a.C.", "d.C.", "12m.",
        "1a.m.", "11p.m.", "Ud.", "Vd.", "Uds.", "Av.", "Avda.", "núm.", "pág.", "s.s.s.", "q.e.p.d.", "pa'l", "pa'",
        "pál", "n.º", "1.º", "2ª", "tel.", "máx.", "mín.", "vol.", "dígamelo", "vámonos", "al", "del", "conmigo",
        "S.A.", "J.C.", "aprox.", "dpto.", "ej.", "esq.", "gob.", "Gral.", "Ing.", "Prof.", "Lic.", "hispano-francés",
        "ex-presidente", "¿Qué?", "¡Ay!",
    ),
    glued=(
        "¿", "¡", "¿¡", "ex-", "anti", "pro-", "L'", "d'", "«", "—", "sub-", "pa'", "(¿", "-", "€", "$",
    ),
)  # fmt: skip

WORDS = {"en": _ENGLISH, "fr": _FRENCH, "es": _SPANISH}
