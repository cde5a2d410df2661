"""Short texts in many languages, and the encodings that such texts were written in before UTF-8."""

TEXTS = {
    "en": [
        "Who lit it?,“Mara” lit the kiln – it was the potter’s first.",
        "What did she say?,She said she didn’t know; the café was shut.",
        "Who?,It is Mara’s.",
        "How much?,The cart cost £40 and it’s still there.",
    ],
    "de": [
        "Wann?,Am Dienstag hat Jürgen den Ofen geöffnet; es war heiß.",
        "Wo?,Die Straße war gesperrt.",
        "Wer?,Müller kam mit den Schlüsseln.",
        "Warum?,Weil die Tür klemmte und das Öl überlief, fuhr Großmutter nach Köln zurück.",
    ],
    "fr": [
        "Où ?,Près de l’église, à côté du théâtre.",
        "Qui ?,Il va à Paris.",
        "Quand ?,Voilà, c’était l’été dernier, où nous avons reçu la clé.",
        "Quoi ?,Le cœur de la forêt brûle déjà.",
        "Qui?,Le garçon a mangé.",
    ],
    "es": [
        "¿Cuándo llegó?,Llegó mañana con su niño.",
        "Donde?,El país es grande y aquí no llueve.",
        "Quien?,Mi tío está en París.",
        "Que?,Llegó ayer.",
    ],
    "pt": [
        "Quando?,A reunião começou às três na estação.",
        "Quem?,Ele põe a mesa.",
        "Onde?,A irmã da Inês mora em São João.",
    ],
    "it": [
        "Perché?,Perché la città è più bella così.",
        "Chi?,Sarà Lucia.",
        "Dove?,Abita lì, al di là del ponte.",
    ],
    "nl": [
        "Wie?,De geïnterviewde café-eigenaar.",
        "Waar?,Op één eiland in België.",
    ],
    "sv": [
        "När kom han?,Han kom på måndag förmiddag.",
        "Vem är det?,Det är Åsa.",
        "Var?,Ölet står där.",
    ],
    "da": [
        "Hvornår?,På søndag kører vi til Århus.",
        "Hva?,Øl",
        "Hvem?,Æblet ligger på bordet.",
    ],
    "fi": [
        "Kuka?,Äiti söi päärynän.",
        "Missä?,Hän on töissä.",
    ],
    "is": [
        "Hver?,Þórður og Guðrún fóru út.",
        "Hvað?,Það er hús við sjóinn.",
    ],
    "pl": [
        "Kiedy?,Będzie jutro, więc czekaj.",
        "Kto?,Był żółw, że aż strach.",
        "Co?,Źle się czuł i poszedł spać w Łodzi.",
        "Kto?,Wiem, że on.",
    ],
    "cs": [
        "Kdo přišel?,Včera přišel můj přítel z Brna.",
        "Kde?,Žil v malém městě u řeky.",
        "Co?,Dům.",
    ],
    "sk": [
        "Kto?,Môj ľúbezný sused kúpil päť stoličiek.",
        "Kde?,Býva v Košiciach.",
    ],
    "hu": [
        "Ki jött?,A nő tegnap jött az őrült fűtővel.",
        "Mikor?,Tegnap délután.",
        "Mi?,Örül a kutya.",
    ],
    "ro": [
        "Cine a venit?,Ieri a venit băiatul şi fata în oraş.",
        "Unde?,În pădure.",
        "Cine?,Ion a mâncat.",
    ],
    "hr": [
        "Tko?,Došao je Đuro s djecom.",
        "Gdje?,Čekaju nas u kući.",
    ],
    "sl": [
        "Kdo?,Prišel je mož s ključem.",
    ],
    "lt": [
        "Kas?,Ąžuolas žydi, o bitės dūzgia.",
        "Kur?,Jis gyvena Klaipėdoje.",
    ],
    "lv": [
        "Kas?,Māte vāra tēju.",
        "Kur?,Viņš dzīvo Rīgā.",
        "Kad?,Rītā.",
    ],
    "et": [
        "Kes?,Õpetaja tõi õuna.",
        "Kus?,Ta on tööl Tšehhis.",
    ],
    "tr": [
        "Kim geldi?,Dün akşam yağmur yağdı, ışık söndü.",
        "Nerede?,Köprüde.",
        "Kim?,Ağaç kırıldı.",
    ],
    "sq": [
        "Kush?,Është një djalë i vogël nga Elbasani.",
    ],
    "ru": [
        "Кто пришёл?,Вчера пришёл Иван.",
        "Где?,Он живёт в Москве и работает.",
        "Кто?,Это был я.",
        "Who?,Мара",
    ],
    "uk": [
        "Хто?,Її сусід приїхав з Києва.",
        "Де?,Він живе у Львові, біля річки.",
    ],
    "bg": [
        "Кой дойде?,Вчера дойде Иван с колата.",
    ],
    "sr": [
        "Ко је?,Ђорђе је дошао јуче.",
    ],
    "el": [
        "Ποιος ήρθε?,Χθες ήρθε ο Γιάννης.",
        "Πού?,Άννα είναι στην Αθήνα.",
        "Τι?,Το σπίτι.",
    ],
    "he": [
        "מי בא?,אתמול בא יוסי",
        "איפה?,הבית ליד הים",
    ],
    "ar": [
        "من جاء؟,جاء أحمد أمس",
        "أين؟,البيت قرب البحر",
    ],
    "fa": [
        "کی؟,دیروز پدرم به خانه آمد",
    ],
    "th": [
        "ใครมา?,เมื่อวานสมชายมาที่บ้าน",
    ],
    "vi": [
        "Ai?,Hôm qua bà ấy đến nhà.",
    ],
    "ja": [
        "誰ですか,マラは窯に火を入れました。",
        "どこ?,東京の駅です",
        "誰?,田中さん",
    ],
    "zh": [
        "谁来了?,昨天张先生来到了北京的办公室。",
        "在哪里?,他住在河边",
    ],
    "tw": [
        "誰來了?,昨天張先生來到了臺北的辦公室。",
        "在哪裡?,他住在河邊",
    ],
    "ko": [
        "누가 왔어요?,어제 민수가 집에 왔습니다.",
        "어디?,서울",
    ],
}
# A text is written in those that have its letters.
ENCODINGS = [
    "cp1252", "iso8859_15", "cp1250", "iso8859_2", "cp1254", "iso8859_9", "cp1257", "iso8859_13", "iso8859_4",
    "iso8859_10", "iso8859_3", "iso8859_14", "iso8859_16", "cp1258", "mac_roman", "mac_latin2", "mac_turkish",
    "mac_iceland", "mac_croatian", "mac_romanian", "cp850", "cp437", "cp852", "cp857", "cp858", "cp775", "cp860",
    "cp861", "cp863", "cp865", "cp1251", "koi8_r", "koi8_u", "cp866", "cp855", "iso8859_5", "mac_cyrillic",
    "cp1125", "cp1253", "iso8859_7", "mac_greek", "cp737", "cp869", "cp1255", "iso8859_8", "cp862", "cp1256",
    "iso8859_6", "cp720", "cp864", "cp874", "iso8859_11", "cp932", "euc_jp", "gb18030", "big5", "cp949", "johab",
]  # fmt: skip
